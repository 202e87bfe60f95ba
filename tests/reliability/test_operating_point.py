import numpy as np
import pytest

from medvit.evaluation.metrics import wilson
from medvit.reliability import operating_point

SCORE = np.array([0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, 0.1, 0.1, 0.05])
TRUTH = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)


def test_a_small_example_by_hand():
    at = operating_point.at(SCORE, TRUTH, 0.5)
    assert (at["tp"], at["fn"], at["fp"], at["tn"]) == (3, 1, 1, 5)
    assert (at["sensitivity"], at["specificity"]) == (0.75, pytest.approx(5 / 6))
    assert (at["ppv"], at["npv"]) == (pytest.approx(3 / 4), pytest.approx(5 / 6))
    assert at["sensitivity_interval"] == wilson(3, 4)
    assert at["ppv_interval"][0] < at["ppv"] < at["ppv_interval"][1]


def test_the_predictive_values_follow_the_prevalence():
    rare, common = (operating_point.at(SCORE, TRUTH, 0.5, prevalence) for prevalence in (0.01, 0.6))
    assert rare["ppv"] == pytest.approx(0.75 * 0.01 / (0.75 * 0.01 + 0.99 / 6))
    assert rare["ppv"] < 0.1 < common["ppv"]
    assert rare["npv"] > common["npv"]
    assert rare["sensitivity"] == common["sensitivity"]


def test_the_presets_are_90_percent_sensitivity_and_the_largest_sum():
    sensitive, youden = (operating_point.at(SCORE, TRUTH, t) for t in operating_point.choose(SCORE, TRUTH))
    assert sensitive["sensitivity"] >= 0.9
    every_point = [operating_point.at(SCORE, TRUTH, threshold) for threshold in SCORE]
    sums = [point["sensitivity"] + point["specificity"] for point in every_point]
    assert youden["sensitivity"] + youden["specificity"] == pytest.approx(max(sums))


def test_thresholds_that_predict_nothing_or_everything_are_no_error():
    assert np.isnan(operating_point.at(SCORE, TRUTH, 1.0)["ppv"])
    assert operating_point.at(SCORE, TRUTH, 0.0)["sensitivity"] == 1
    assert np.isnan(operating_point.at(SCORE, TRUTH, 0.0)["npv"])
    assert operating_point.at(SCORE, TRUTH, 1.0)["ppv_interval"] is None


def test_the_interval_of_a_predictive_value_holds_one_and_zero():
    truth = np.arange(85) < 25
    score = np.where(np.arange(85) < 20, 0.9, 0.1)
    point = operating_point.at(score, truth, 0.5)
    assert point["ppv"] == 1
    assert point["ppv_interval"] == (pytest.approx(0.716, abs=1e-3), 1)


def test_the_areas_lie_in_their_intervals():
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.15), 0, 1)
    areas = operating_point.areas(score, truth)
    for key in ("auroc", "auprc"):
        low, high = areas[f"{key}_interval"]
        assert low < areas[key] < high
    assert areas["auprc"] > areas["prevalence"] == truth.mean()
