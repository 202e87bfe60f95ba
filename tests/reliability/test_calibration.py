import numpy as np
import pytest

from medvit.evaluation.calibration_error import calibration_metrics
from medvit.evaluation.metrics import cross_entropy, probabilities
from medvit.reliability import calibration


def calibrated_example(count: int = 4000, classes: int = 5, sharpness: float = 3.0, seed: int = 0):
    """Logits (N, C) whose softmax is exactly the distribution that the labels (N,) are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * sharpness
    probs = probabilities(logits)
    labels = (rng.random((count, 1)) > probs.cumsum(1)).sum(1).clip(max=classes - 1)
    return logits, labels


def median_temperature(logits, labels):
    return np.median(calibration.temperature(logits, calibration.fit_temperature(logits, labels)))


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_a_scaling_of_the_logits(factor):
    logits, labels = calibrated_example()
    assert median_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.08)


def test_multi_label_tasks_have_a_temperature_too():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 6)) * 2
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    assert median_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)


def test_test_time_augmentations_have_a_temperature_too():
    logits, labels = calibrated_example()
    assert median_temperature(np.stack([logits * 2, logits * 2]), labels) == pytest.approx(2, rel=0.08)


def test_the_temperature_by_hand():
    uniform, certain = np.zeros((1, 4)), np.array([[50.0, 0, 0, 0]])
    assert calibration.temperature(uniform, (calibration.UNIT_OFFSET, 0.7)).item() == pytest.approx(1)
    # the entropy counts as 0.02: softplus(1 + 0.5 * log 0.02)
    expected = np.log1p(np.exp(1 - 1.956012))
    assert calibration.temperature(certain, (1.0, 0.5)).item() == pytest.approx(expected)


def test_the_underconfidence_of_smoothed_labels_is_undone():
    """Smoothed labels bound the largest probability, which a constant temperature cannot undo."""
    logits, labels = calibrated_example(8000, sharpness=6)
    smoothed = np.log(0.9 * probabilities(logits) + 0.1 / 5)
    fitted = calibration.fit_temperature(smoothed[:4000], labels[:4000])
    after = calibration_metrics(calibration.calibrated(smoothed[4000:], fitted), labels[4000:])
    before = calibration_metrics(probabilities(smoothed[4000:]), labels[4000:])
    assert fitted[1] > 0.1
    assert after["ece"] < 2 * after["ece_floor"]
    assert before["ece"] > 4 * after["ece"]


def test_few_images_make_no_model_more_confident():
    logits, labels = calibrated_example(150)
    assert median_temperature(logits * 0.25, labels) == pytest.approx(1, abs=0.01)
    assert median_temperature(logits * 4, labels) > 2
    assert calibration.fit_temperature(logits * 0.25, labels)[1] == 0


def test_few_errors_make_no_model_more_confident():
    logits = np.eye(4)[np.arange(400) % 4] * 3.0
    labels = np.arange(400) % 4
    labels[:9] += 1
    assert median_temperature(logits, labels % 4) == pytest.approx(1, abs=0.01)
    labels[9:15] += 1
    offset, slope = calibration.fit_temperature(logits, labels % 4)
    assert offset < calibration.UNIT_OFFSET
    assert slope == 0


def test_the_temperature_keeps_the_argmax():
    logits, labels = calibrated_example(500)
    probs = calibration.calibrated(logits, calibration.fit_temperature(logits * 3, labels))
    np.testing.assert_array_equal(probs.argmax(1), logits.argmax(1))


def test_the_log_loss_after_temperature_scaling_is_that_of_calibrated_logits():
    logits, labels = calibrated_example()
    best = cross_entropy(labels, probabilities(logits))
    for factor in (0.3, 1.0, 3.0):
        assert calibration.calibrated_loss(logits * factor, labels) == pytest.approx(best, rel=0.01)
    assert cross_entropy(labels, probabilities(logits * 0.3)) > 1.2 * best


def test_a_single_image_has_a_log_loss_without_temperature_scaling():
    loss = calibration.calibrated_loss(np.log([[0.25, 0.75]]), np.array([1]))
    assert loss == pytest.approx(-np.log(0.75))


def test_the_log_loss_after_temperature_scaling_exists_for_multi_label_tasks():
    logits = np.random.default_rng(0).normal(size=(400, 3))
    labels = (logits > 0).astype(int)
    assert 0 < calibration.calibrated_loss(logits, labels) < np.log(2)
