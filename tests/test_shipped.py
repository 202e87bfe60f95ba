"""The checkpoints that ship: whole, honest, and treating every picture as the test images were treated."""

import io

import numpy as np
import pytest
from PIL import Image

from medvit import models
from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import as_rgb, medmnist, stratified_sample, synthetic
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import evaluate
from medvit.inference.predictor import Predictor
from medvit.reliability import measure, outliers
from medvit.reliability.ood import SHARED

from .conftest import DAMAGED, SHIPPED, official_test_split

each_shipped = pytest.mark.parametrize("found", SHIPPED, ids=lambda c: f"{c.dataset.name}-{c.model_name}")


def test_every_pair_of_the_five_subsets_and_four_models_ships():
    assert DAMAGED == {}
    assert {(one.dataset.name, one.model_name) for one in SHIPPED} == {
        (subset, model) for subset in medmnist.MAIN for model in models.NAMES
    }


def test_together_they_weigh_at_most_150_megabytes():
    assert sum(path.stat().st_size for path in DEFAULT_ROOT.rglob("*") if path.is_file()) < 150e6


@each_shipped
def test_the_card_follows_from_the_stored_logits(found):
    test = evaluate(found.test_logits, found.test_labels, found.dataset.task, found.dataset.classes)
    for key, value in test.items():
        if isinstance(value, float):
            assert value == pytest.approx(found.card["test"][key], abs=5e-4), key
    assert len(found.test_labels) == found.dataset.samples["test"]
    assert found.card["data_md5"] == found.dataset.md5[28]


@each_shipped
def test_the_model_beats_the_majority_class(found):
    majority = np.bincount(found.test_labels).max() / len(found.test_labels)
    assert found.card["test"]["accuracy"] > majority


@each_shipped
def test_it_answers_a_phantom(found):
    answer = Predictor(found)(synthetic.draw(found.dataset.name, 0))
    assert list(answer["probabilities"]) == list(found.dataset.classes)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@each_shipped
def test_stored_logits_are_those_of_the_stored_weights(found):
    images, labels = official_test_split(found.dataset.name)
    np.testing.assert_array_equal(labels, found.test_labels)
    part = slice(0, 2000)
    logits, _ = predict(found.model, found.preprocessing, images[part])
    np.testing.assert_allclose(logits, found.test_logits[part], atol=0.02, rtol=2e-3)
    assert (logits.argmax(1) == found.test_logits[part].argmax(1)).mean() > 0.9995


def test_what_is_fitted_for_trust_is_small():
    sizes = [path.stat().st_size for path in DEFAULT_ROOT.glob("*/*/trust.npz")]
    assert all(size < 1e6 for size in sizes)
    assert sum(sizes) < 10e6
    assert sum(path.stat().st_size for path in (DEFAULT_ROOT / SHARED).iterdir()) < 6e6


@each_shipped
def test_it_notices_pictures_of_another_kind(found):
    if found.trust is None:
        pytest.skip(found.trust_problem)
    predictor = Predictor(found)
    for kind in ("photographs", "text pages", "flat colours"):
        pictures = outliers.draw(kind, 10, found.dataset.channels == 1)
        accepted = [predictor.predict(picture).in_distribution.accepted for picture in pictures]
        assert sum(accepted) <= 1, kind


@each_shipped
def test_it_accepts_as_many_test_images_as_its_card_says(found):
    """So trust.npz still fits the features that are read."""
    said = found.card["trust"]["foreign"]["forms"]["original"]
    images, labels = official_test_split(found.dataset.name)
    some = images[stratified_sample(labels, measure.FORMS)]
    colour = as_rgb(some, found.dataset.channels == 1)
    accepted = [one.in_distribution.accepted for one in Predictor(found).predict_many(colour)]
    assert np.mean(accepted) == pytest.approx(said, abs=0.011)  # one image may lie on the line


def as_png(image: Image.Image) -> bytes:
    return _encoded(image, "PNG")


def as_jpeg(image: Image.Image) -> bytes:
    return _encoded(image, "JPEG", quality=95)


def nearest(image: Image.Image) -> bytes:
    return _encoded(image.resize((224, 224), Image.Resampling.NEAREST), "PNG")


def bicubic(image: Image.Image) -> bytes:
    return _encoded(image.resize((224, 224), Image.Resampling.BICUBIC), "PNG")


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@each_shipped
@pytest.mark.parametrize(("change", "least"), [(as_png, 99), (as_jpeg, 98), (nearest, 99), (bicubic, 99)])
def test_one_path_for_pixels(found, change, least):
    """A test image that comes back as an upload gets the class that the test split got."""
    images, _ = official_test_split(found.dataset.name)
    predictor = Predictor(found)
    chosen = np.linspace(0, len(images) - 1, 100).astype(int)
    sources = np.stack([predictor.source(change(Image.fromarray(images[i]))) for i in chosen])
    classes = predict(found.model, found.preprocessing, sources)[0].argmax(1)
    assert (classes == found.test_logits[chosen].argmax(1)).sum() >= least
