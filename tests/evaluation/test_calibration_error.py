import numpy as np
import pytest

from medvit.evaluation import calibration_error as ce
from medvit.evaluation.metrics import probabilities
from tests.reliability.test_calibration import calibrated_example


def test_a_small_example_by_hand():
    confidences = np.array([0.6, 0.6, 0.9, 0.9])
    correct = np.array([True, False, True, True])
    # two bins of two images: |1.2 - 1| and |1.8 - 2|, over four images
    assert ce.calibration_error(confidences, correct, bins=2) == pytest.approx((0.2 + 0.2) / 4)


def test_perfect_calibration_has_no_error_and_overconfidence_has():
    confidence = np.full(1000, 0.8)
    correct = np.arange(1000) % 5 > 0
    assert ce.calibration_error(confidence, correct) < 0.03
    assert ce.calibration_error(np.ones(1000), correct) == pytest.approx(0.2, abs=0.01)


def test_a_perfectly_calibrated_model_is_at_the_floor_and_an_overconfident_one_above_it():
    logits, labels = calibrated_example(1000)
    perfect = ce.calibration_metrics(probabilities(logits), labels)
    assert perfect["ece"] == pytest.approx(perfect["ece_floor"], abs=0.015)
    overconfident = ce.calibration_metrics(probabilities(logits * 4), labels)
    assert overconfident["ece"] > 3 * overconfident["ece_floor"]
    assert overconfident["nll"] > perfect["nll"]
    assert overconfident["brier"] > perfect["brier"]
    assert "model would show" in ce.compare_with_floor(overconfident)
    assert "not distinguishable" in ce.compare_with_floor(perfect | {"ece": perfect["ece_floor"]})


def test_the_floor_falls_as_the_test_set_grows():
    confidences = probabilities(calibrated_example(4000)[0]).max(1)
    assert ce.noise_floor(confidences[:150]) > 3 * ce.noise_floor(confidences)


def test_each_label_of_a_multi_label_image_is_a_prediction():
    confidences, correct = ce.confidence(np.array([[0.9, 0.4]]), np.array([[1, 1]]))
    assert confidences == pytest.approx([0.9, 0.6])
    assert correct.tolist() == [True, False]
