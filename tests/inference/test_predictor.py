"""Predictor: one image, many threads, every form of input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import MapOptions
from medvit.imaging import to_tensor


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", root=trained)


def test_the_answer_is_plain_json(predictor, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(synthetic.draw("breastmnist", 0)).resize((300, 200)).save(path)
    answer = predictor(path)
    assert set(answer) == {
        "label", "probabilities", "calibrated", "prediction_set", "in_distribution", "subset", "model",
    }  # fmt: skip
    assert (answer["subset"], answer["model"]) == ("breastmnist", "spt_lsa")
    assert set(answer["probabilities"]) == {"malignant", "normal, benign"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)


def test_path_bytes_image_and_array_give_the_same_answer(predictor, tmp_path):
    picture = synthetic.draw("breastmnist", 1)
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    forms = (path, str(path), path.read_bytes(), Image.fromarray(picture), picture)
    expected = predictor(path)
    assert all(predictor(form) == expected for form in forms)


def test_many_threads_get_the_results_of_a_single_one(predictor):
    pictures = [synthetic.draw("breastmnist", i) for i in range(12)]

    def compute(picture):
        prediction = predictor.predict(predictor.source(picture))
        maps = [predictor.heatmap(prediction, method) for method in ("grad_cam", "rollout")]
        return [prediction.probabilities, *maps]

    expected = [compute(picture) for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(compute, pictures))
    for arrays, expected_arrays in zip(results, expected, strict=True):
        for array, expected_array in zip(arrays, expected_arrays, strict=True):
            np.testing.assert_allclose(array, expected_array, atol=1e-4)


def test_images_in_one_batch_do_not_influence_each_other(predictor):
    sources = [synthetic.draw("breastmnist", i) for i in range(5)]
    passes = predictor.explainer.many(to_tensor(np.stack(sources)))
    for prediction, batched in zip(map(predictor.predict, sources), passes, strict=True):
        torch.testing.assert_close(prediction.forward_pass.logits, batched.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(prediction.forward_pass.attentions, batched.attentions, atol=1e-5, rtol=0)


def test_bulk_predictions_record_no_forward_pass_but_have_maps(predictor):
    source = synthetic.draw("breastmnist", 0)
    (prediction,) = predictor.predict_many(source[None])
    assert prediction.recorded is None
    np.testing.assert_allclose(
        predictor.heatmap(prediction, "rollout"),
        predictor.heatmap(predictor.predict(source), "rollout"),
        atol=1e-5,
    )


def test_an_unknown_class_is_refused(predictor):
    prediction = predictor.predict(synthetic.draw("breastmnist", 0))
    with pytest.raises(MedvitError, match="There is no class 2"):
        predictor.heatmap(prediction, "grad_cam", MapOptions(target=2))
