"""Registry: models in memory, sample images, and what happens when files are damaged or deleted."""

import gc
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from torch.multiprocessing.reductions import StorageWeakRef

import medvit
from medvit import checkpoint
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import METHODS, MapOptions
from medvit.inference.pictures import of_one_dataset
from medvit.inference.registry import Registry


def test_models_are_unloaded_when_memory_is_short():
    """Their weights are freed, even while the predictor, a prediction and a map still exist."""
    registry = Registry.open(model_bytes=1)
    models = [name for _, name in registry.model_choices("breastmnist")]
    weights: list[StorageWeakRef] = []
    for model in models:
        predictor = registry.predictor("breastmnist", model)
        assert all(storage.expired() for storage in weights)
        prediction = predictor.predict(synthetic.draw("breastmnist", 0))
        predictor.heatmap(prediction, "grad_cam")
        weights = [StorageWeakRef(w.untyped_storage()) for w in predictor.explainer.model.parameters()]
        assert not any(storage.expired() for storage in weights)


def test_preload_loads_what_fits(trained):
    registry = Registry.open(trained)
    registry.preload()
    assert registry.predictor("breastmnist", "spt_lsa").loaded
    registry = Registry.open(trained, model_bytes=1)
    registry.preload()
    assert not registry.predictor("breastmnist", "spt_lsa").loaded


def test_a_reloaded_model_predicts_the_same(trained):
    predictor = Registry.open(trained).predictor("breastmnist", "spt_lsa")
    before = predictor(synthetic.draw("breastmnist", 0))
    predictor.unload()
    assert not predictor.loaded
    assert predictor(synthetic.draw("breastmnist", 0)) == before


@pytest.mark.parametrize("method", METHODS)
def test_each_map_of_a_model_that_was_unloaded_since_can_be_computed(trained, method):
    predictor = Registry.open(trained).predictor("breastmnist", "spt_lsa")
    prediction = predictor.predict(synthetic.draw("breastmnist", 0))
    expected = predictor.heatmap(prediction, method, MapOptions(1))
    prediction.forward_pass.heatmaps.clear()
    predictor.unload()
    gc.collect()
    np.testing.assert_allclose(predictor.heatmap(prediction, method, MapOptions(1)), expected, atol=1e-6)


def test_a_model_unloaded_during_predictions_still_completes_them(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    source = synthetic.draw("breastmnist", 0)
    expected = predictor.predict(source).probabilities
    with ThreadPoolExecutor(3) as pool:
        predictions = [pool.submit(predictor.predict, source) for _ in range(12)]
        while not all(prediction.done() for prediction in predictions):
            predictor.unload()
            time.sleep(0.01)
    for prediction in predictions:
        np.testing.assert_allclose(prediction.result().probabilities, expected, atol=1e-5)


def test_a_checkpoint_deleted_under_a_running_server_is_named(trained, tmp_path):
    root = tmp_path / "checkpoints"
    shutil.copytree(trained, root)
    registry = Registry.open(root)
    shutil.rmtree(root / "breastmnist" / "spt_lsa")
    with pytest.raises(MedvitError, match="breastmnist/spt_lsa"):
        registry.predictor("breastmnist", "spt_lsa").predict(synthetic.draw("breastmnist", 0))
    assert registry.checkpoint("breastmnist", "spt_lsa").card["subset"] == "breastmnist"


def test_without_checkpoints_the_error_says_where_they_belong(tmp_path):
    with pytest.raises(MedvitError, match=rf"(?s){tmp_path}.*<subset>/<model>.*medvit train"):
        Registry.open(tmp_path)


def test_truncated_data_are_replaced_by_synthetic_examples(trained, synthetic_root, tmp_path):
    content = (synthetic_root / "breastmnist.npz").read_bytes()
    (tmp_path / "breastmnist.npz").write_bytes(content[: len(content) // 2])
    registry = Registry.open(trained, tmp_path)
    assert not registry.has_data("breastmnist")
    assert registry.examples("breastmnist")[0].synthetic
    assert registry.random_sample("breastmnist").synthetic


def test_a_sample_is_found_again_by_its_index(trained, synthetic_root):
    for root in (synthetic_root, "/nonexistent"):
        registry = Registry.open(trained, root)
        sample = registry.sample("breastmnist", 3)
        assert sample.index == 3
        assert sample.synthetic == (root == "/nonexistent")
        with pytest.raises(MedvitError, match="no"):
            registry.sample("breastmnist", 9_999_999)


def test_examples_are_test_images_of_every_class(trained, synthetic_root):
    registry = Registry.open(trained, synthetic_root)
    examples = registry.examples("breastmnist")
    assert len(examples) == 12
    assert {example.truth for example in examples} == {0, 1}
    assert not any(example.synthetic for example in examples)


@pytest.mark.parametrize("index", [-1, 16])
def test_a_test_image_that_does_not_exist_is_refused(trained, synthetic_root, index):
    with pytest.raises(MedvitError, match="no test image"):
        Registry.open(trained, synthetic_root).test_sample("breastmnist", index)


def test_checkpoints_of_another_source_size_are_left_out(trained):
    checkpoints, _ = checkpoint.discover(trained)
    first, *_ = (item for item in checkpoints if item.dataset.name == "breastmnist")
    larger = replace(first, folder=first.folder / "64", card=first.card | {"source_size": 64})
    kept, problems = of_one_dataset([first, larger])
    assert kept == [first]
    assert "at another source size" in problems[str(larger.folder)]


def test_checkpoints_with_other_test_images_are_left_out(trained):
    checkpoints, _ = checkpoint.discover(trained)
    first, *_ = (item for item in checkpoints if item.dataset.name == "breastmnist")
    fewer = replace(
        first,
        folder=first.folder / "fewer",
        test_labels=first.test_labels[:-1],
        test_logits=first.test_logits[:-1],
    )
    kept, problems = of_one_dataset([first, fewer])
    assert kept == [first]
    assert "tested on other pictures" in problems[str(fewer.folder)]
