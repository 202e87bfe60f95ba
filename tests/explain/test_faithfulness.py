import numpy as np
import pytest
import torch

from medvit.explain import faithfulness

from .test_occlusion import explained_corner


def test_deletion_and_insertion_tell_a_faithful_map_from_its_opposite():
    result = explained_corner()
    values = np.zeros((7, 7), np.float32)
    values[0, 0] = 1
    good, bad = faithfulness.insertion_deletion_curves(result.explainer, result, [values, 1 - values], 1)
    assert good.deletion[0] == bad.deletion[0] == pytest.approx(good.insertion[-1])
    areas, worse = good.areas(), bad.areas()
    assert areas["deletion"] < areas["random_deletion"] < worse["deletion"]
    assert areas["insertion"] > areas["random_insertion"] > worse["insertion"]
    scores = [faithfulness.road(result.explainer, result, each, 1) for each in (values, 1 - values)]
    assert scores[0] > 0.2 > scores[1]


def test_a_randomised_model_has_the_same_numbers_elsewhere(explained):
    model, result = explained("spt_lsa")
    randomized = faithfulness.randomized_model(result.explainer).model
    for name, weight in model.named_parameters():
        permuted = randomized.get_parameter(name)
        torch.testing.assert_close(permuted.flatten().sort().values, weight.flatten().sort().values)
    assert not torch.equal(randomized.blocks[0].attention.qkv.weight, model.blocks[0].attention.qkv.weight)


def test_maps_are_measured_over_images(explained):
    _, result = explained("vit")
    images = torch.cat([result.pixels, result.pixels.flip(-1)])
    measured = faithfulness.measure(result.explainer, images, ["rollout", "grad_cam"])
    assert list(measured) == ["rollout", "grad_cam"]
    for metrics in measured.values():
        assert set(metrics) == {
            "deletion", "insertion", "random_deletion", "random_insertion", "road",
            "insertion_deletion_gain", "insertion_deletion_gain_se", "randomization_similarity",
        }  # fmt: skip
        gain = metrics["insertion"] - metrics["deletion"]
        gain -= metrics["random_insertion"] - metrics["random_deletion"]
        assert metrics["insertion_deletion_gain"] == pytest.approx(gain, abs=3e-4)
        assert -1 <= metrics["randomization_similarity"] <= 1


def test_the_correlation_with_a_constant_map_is_zero():
    values = np.arange(9.0).reshape(3, 3)
    assert faithfulness.rank_correlation(values, np.ones((3, 3))) == 0
    assert faithfulness.rank_correlation(values, values**3) == pytest.approx(1)
