"""The shipped checkpoints: whole, as their cards say, and stable under what uploads do to an image."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from medvit import models
from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import as_rgb, medmnist, stratified_sample, synthetic
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import evaluate
from medvit.inference.predictor import Predictor
from medvit.reliability import measure, ood, outliers

from .conftest import DAMAGED, SHIPPED, official_split

each_shipped = pytest.mark.parametrize("shipped", SHIPPED, ids=lambda c: f"{c.dataset.name}-{c.model_name}")


def test_every_pair_of_the_five_datasets_and_four_models_ships():
    assert DAMAGED == {}
    assert {(shipped.dataset.name, shipped.model_name) for shipped in SHIPPED} == {
        (dataset, model) for dataset in medmnist.MAIN for model in models.NAMES
    }


def test_together_they_take_at_most_150_megabytes():
    assert sum(path.stat().st_size for path in DEFAULT_ROOT.rglob("*") if path.is_file()) < 150e6


@each_shipped
def test_the_card_follows_from_the_stored_logits(shipped):
    dataset = shipped.dataset
    test = evaluate(shipped.test_logits, shipped.test_labels, dataset.task, dataset.classes)
    for key, value in test.items():
        if isinstance(value, float):
            assert value == pytest.approx(shipped.card["test"][key], abs=5e-4), key
    assert len(shipped.test_labels) == dataset.samples["test"]
    assert shipped.card["data_md5"] == dataset.md5[28]


@each_shipped
def test_the_model_beats_the_majority_class(shipped):
    majority = np.bincount(shipped.test_labels).max() / len(shipped.test_labels)
    assert shipped.card["test"]["accuracy"] > majority


@each_shipped
def test_it_classifies_a_synthetic_example(shipped):
    answer = Predictor(shipped)(synthetic.draw(shipped.dataset.name, 0))
    assert list(answer["probabilities"]) == list(shipped.dataset.classes)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@each_shipped
def test_stored_logits_are_those_of_the_stored_weights(shipped):
    images, labels = official_split(shipped.dataset.name, "test")
    np.testing.assert_array_equal(labels, shipped.test_labels)
    part = slice(0, 2000)
    logits, _ = predict(shipped.model, shipped.preprocessing, images[part])
    np.testing.assert_allclose(logits, shipped.test_logits[part], atol=0.02, rtol=2e-3)
    assert (logits.argmax(1) == shipped.test_logits[part].argmax(1)).mean() > 0.9995


def test_what_is_fitted_for_reliability_is_small():
    sizes = [path.stat().st_size for path in DEFAULT_ROOT.glob("*/*/trust.npz")]
    assert all(size < 1e6 for size in sizes)
    assert sum(sizes) < 10e6
    assert sum(path.stat().st_size for path in (DEFAULT_ROOT / ood.FOLDER).iterdir()) < 6e6


@each_shipped
def test_pictures_of_another_kind_are_out_of_distribution(shipped):
    assert shipped.trust is not None, shipped.trust_problem
    predictor = Predictor(shipped)
    for kind in ("photographs", "text pages", "flat colours"):
        pictures = outliers.draw(kind, 10, shipped.dataset.channels == 1)
        predictions = predictor.predict_many(pictures)
        assert sum(prediction.in_distribution.accepted for prediction in predictions) <= 1, kind


def test_the_ood_check_meets_its_requirement_on_validation():
    """Mean over the datasets: AUROC of at least 0.99, and at most 2 % of the outliers accepted."""
    means = {shipped.dataset.name: shipped.card["trust"]["ood"]["validation"]["mean"] for shipped in SHIPPED}
    assert np.mean([mean["auroc"] for mean in means.values()]) >= 0.99
    assert np.mean([mean["accepted"] for mean in means.values()]) <= 0.02


@each_shipped
def test_it_accepts_as_many_test_images_as_its_card_says(shipped):
    """So trust.npz still fits the features of the OOD reference model."""
    images, labels = official_split(shipped.dataset.name, "test")
    some = images[stratified_sample(labels, measure.MAX_FORMS)]
    predictions = Predictor(shipped).predict_many(as_rgb(some, shipped.dataset.channels == 1))
    accepted = np.mean([prediction.in_distribution.accepted for prediction in predictions])
    expected = shipped.card["trust"]["ood"]["forms"]["original"]
    assert accepted == pytest.approx(expected, abs=0.011)  # one image may lie on the threshold


def as_png(image: Image.Image) -> bytes:
    return _encoded(image, "PNG")


def as_jpeg(image: Image.Image) -> bytes:
    return _encoded(image, "JPEG", quality=95)


def enlarged_nearest(image: Image.Image) -> bytes:
    return _encoded(image.resize((224, 224), Image.Resampling.NEAREST), "PNG")


def enlarged_bicubic(image: Image.Image) -> bytes:
    return _encoded(image.resize((224, 224), Image.Resampling.BICUBIC), "PNG")


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _validation_images(name: str, count: int) -> np.ndarray:
    images, _ = official_split(name, "val")
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]


@each_shipped
@pytest.mark.parametrize(
    ("encode", "count", "fraction"),
    [(as_png, 100, 0.99), (as_jpeg, 500, 0.97), (enlarged_nearest, 100, 0.99), (enlarged_bicubic, 100, 0.99)],
)
def test_an_upload_is_classified_like_the_image_itself(shipped, encode, count, fraction):
    """One path for pixels. On validation images, as a requirement on test images could steer a choice."""
    images = _validation_images(shipped.dataset.name, count)
    predictor = Predictor(shipped)
    sources = np.stack([predictor.source(encode(Image.fromarray(image))) for image in images])
    expected, classes = (
        predict(shipped.model, shipped.preprocessing, pixels)[0].argmax(1) for pixels in (images, sources)
    )
    assert (classes == expected).mean() >= fraction
