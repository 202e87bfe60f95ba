import numpy as np
import pytest

from medvit.evaluation.metrics import probabilities
from medvit.reliability import conformal
from tests.reliability.test_calibration import calibrated_example


@pytest.mark.parametrize("level", conformal.LEVELS)
def test_sets_hold_the_true_class_at_the_level(level):
    logits, labels = calibrated_example(40_000)
    probs = probabilities(logits)
    limit = conformal.quantile(conformal.nonconformity_scores(probs[:10_000], labels[:10_000]), level)
    metrics = conformal.coverage_metrics(conformal.prediction_sets(probs[10_000:], limit), labels[10_000:])
    assert metrics["coverage"] == pytest.approx(level, abs=0.01)
    low, high = metrics["coverage_interval"]
    assert low < metrics["coverage"] < high
    assert sum(part["images"] for part in metrics["by_size"].values()) == 30_000


def test_no_set_is_empty_and_a_certain_prediction_stands_alone():
    probs = np.array([[0.98, 0.01, 0.01], [0.4, 0.35, 0.25]])
    assert conformal.prediction_sets(probs, -1.0).sum(1).tolist() == [1, 1]
    assert conformal.prediction_sets(probs, 0.7).tolist() == [[True, False, False], [True, True, False]]


def test_too_few_images_for_a_level_give_sets_of_every_class():
    assert conformal.images_needed(0.90) == 9
    assert conformal.images_needed(0.99) == 99
    assert conformal.quantile(np.zeros(98), 0.99) == np.inf
    assert conformal.quantile(np.arange(99.0), 0.99) == 98
    assert conformal.prediction_sets(np.array([[0.9, 0.1]]), np.inf).all()


def test_the_expected_coverage_is_a_range_around_the_level():
    low, high = conformal.expected_coverage(0.90, 39, 1000)
    assert low < 0.85 < 0.95 < high
    assert conformal.expected_coverage(0.99, 10, 1000) == (1, 1)
    assert conformal.expected_coverage(0.95, 262, 624) == pytest.approx((0.915, 0.978), abs=1e-3)


@pytest.mark.parametrize("tested", [200, 100_000])
def test_the_expected_range_holds_the_coverage_in_95_of_100_draws(tested):
    rng = np.random.default_rng(0)
    low, high = conformal.expected_coverage(0.90, 100, tested)
    limits = [conformal.quantile(rng.random(100), 0.90) for _ in range(2000)]  # of uniform scores
    coverages = rng.binomial(tested, limits) / tested
    assert np.mean([low <= coverage <= high for coverage in coverages]) == pytest.approx(0.95, abs=0.02)
