"""What the model says, as HTML."""

from dataclasses import replace

import numpy as np
import pytest

from medvit.data import medmnist
from medvit.inference.predictor import Prediction
from medvit.inference.sample import Sample
from medvit.ui.panels import answer


@pytest.fixture(scope="module")
def prediction(answer_of):
    return answer_of("breastmnist", "spt_lsa").prediction


@pytest.fixture
def upload(prediction):
    return Sample("breastmnist", prediction.source, "your image")


def with_ood_check(prediction, accepted):
    check = replace(prediction.in_distribution, score=2.0, threshold=1.0 if accepted else 3.0)
    return replace(prediction, in_distribution=check)


def test_the_answer_names_the_class_its_probability_and_the_prediction_set(prediction, upload):
    text = answer.render(with_ood_check(prediction, True), upload, 0.8).striptags()
    assert "The model says" in text
    assert f"{prediction.display_probs[prediction.top]:.1%}" in text
    assert "80% prediction set" in text
    assert "For images like those of validation, 80 of 100 such sets contain the true class." in text
    assert "✓" in text
    assert "Your image. Its true class is unknown." in text
    assert "not for diagnosis" in text


def test_the_true_class_is_marked(prediction, upload):
    for truth in (0, 1):
        text = answer.render(prediction, replace(upload, truth=truth))
        assert ("✓ correct" in text) == (truth == prediction.top)
        assert ("✗ wrong" in text) == (truth != prediction.top)


def test_an_out_of_distribution_image_is_noticed_above_the_dimmed_answer(prediction, upload):
    rejected = with_ood_check(prediction, False)
    text = answer.render(rejected, upload)
    assert 'class="answer ood"' in text
    assert "does not look like BreastMNIST" in text
    assert "show anyway" in text
    synthetic = answer.render(rejected, replace(upload, synthetic=True))
    assert 'class="answer"' in synthetic
    assert "out of distribution, as a synthetic example" in synthetic.striptags()
    assert 'class="answer"' in answer.render(with_ood_check(prediction, True), upload)


def test_a_set_of_every_class_says_that_validation_is_too_small(prediction, upload, monkeypatch):
    monkeypatch.setattr(type(prediction.trust), "fitted_on", lambda *_: 8)
    assert "Validation has too few images (8) for 99%" in answer.render(prediction, upload, 0.99)


def test_without_trust_statistics_the_answer_says_so(prediction, upload):
    plain = replace(prediction, trust=None, calibrated=None, in_distribution=None)
    text = answer.render(plain, upload).striptags()
    assert "not calibrated" in text
    assert "prediction set" not in text


def test_several_labels_are_not_summed_and_no_truth_is_called_unknown():
    chest = medmnist.get("chestmnist")
    source = np.zeros((28, 28, 3), np.uint8)
    prediction = Prediction(chest, "cnn", source, np.full(len(chest.classes), 0.4))
    text = answer.render(prediction, Sample("chestmnist", source, "test image 2"))
    assert "together" not in text
    assert "unknown" not in text


def test_the_test_time_augmentations_say_how_far_they_agree(registry, upload):
    augmented = registry.predictor("breastmnist", "spt_lsa").predict(upload.source, tta=True)
    assert f"{augmented.agreement:.0%} of the augmented copies" in answer.render(augmented, upload)
