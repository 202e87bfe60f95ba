"""Metrics of a reader study, against tables counted by hand."""

import numpy as np
import pytest

from medvit.evaluation.metrics import wilson
from medvit.reader_study import CaseResult, conclusion, summarize
from medvit.reader_study.summary import cohen_kappa, mean_over_readers, measure, paired_difference

# (truth, first answer, advice, final answer): how often
TABLE = {
    ("a", "a", "a", "a"): 5,
    ("a", "b", "a", "a"): 3,  # corrected after right advice
    ("a", "b", "a", "b"): 1,  # right advice not followed
    ("b", "b", "a", "b"): 4,  # kept against wrong advice
    ("b", "b", "a", "a"): 2,  # misled
    ("b", "a", "a", "a"): 1,  # both wrong
}


def rows(table=TABLE, reader="anna", condition="answer", start=0):
    made = []
    for (truth, first, advice, final), count in table.items():
        for _ in range(count):
            i = start + len(made)
            made.append(
                CaseResult(
                    reader, "study", i, "breastmnist", i, truth, condition, first, 0.8, advice, 0.9, final,
                    0.6, 4.0, 2.0, advice == truth,
                )
            )  # fmt: skip
    return made


def test_accuracy_alone_of_the_model_and_together():
    accuracy = measure(rows())["accuracy"]
    assert [accuracy[name]["count"] for name in ("reader", "model", "reader_with_model")] == [11, 9, 12]
    assert accuracy["reader"]["n"] == 16
    assert accuracy["reader"]["interval"] == wilson(11, 16)


def test_appropriate_reliance():
    metrics = measure(rows())
    assert (metrics["rair"]["count"], metrics["rair"]["n"]) == (3, 4)
    assert (metrics["rsr"]["count"], metrics["rsr"]["n"]) == (4, 6)
    assert (metrics["over_reliance"]["count"], metrics["over_reliance"]["n"]) == (3, 7)
    assert (metrics["under_reliance"]["count"], metrics["under_reliance"]["n"]) == (1, 9)
    assert metrics["switches"] == {"to_right": 3, "to_wrong": 2, "between_wrong": 0}
    assert len(metrics["misled"]) == 2


def test_a_reliance_without_an_eligible_case_has_no_value():
    metrics = measure(rows({("a", "a", "a", "a"): 3}))
    assert metrics["rair"] == {"value": None, "count": 0, "n": 0, "interval": None}


def test_sensitivity_and_specificity_of_two_classes():
    metrics = measure(rows(), {"breastmnist": "b"})
    assert (metrics["sensitivity"]["reader"]["count"], metrics["sensitivity"]["reader"]["n"]) == (6, 7)
    assert metrics["sensitivity"]["reader_with_model"]["count"] == 4
    assert (metrics["specificity"]["reader"]["count"], metrics["specificity"]["reader"]["n"]) == (5, 9)
    assert metrics["specificity"]["reader_with_model"]["count"] == 8
    assert measure(rows())["macro_recall"]["reader"] == pytest.approx((5 / 9 + 6 / 7) / 2)


def test_mcnemars_exact_test():
    test = measure(rows())["mcnemar"]["reader_with_model, reader"]
    assert (test["only_first"], test["only_second"]) == (3, 2)
    assert test["p"] == pytest.approx(1.0)  # two-sided binomial of 2 in 5
    only_better = measure(rows({("a", "b", "a", "a"): 6, ("a", "a", "a", "a"): 4}))
    assert only_better["mcnemar"]["reader_with_model, reader"]["p"] == pytest.approx(2 / 2**6)


def test_the_change_has_the_interval_of_agresti_and_min():
    before, after = np.array([1] * 11 + [0] * 5, bool), np.array([1] * 9 + [0] * 2 + [1] * 3 + [0] * 2, bool)
    change = paired_difference(before, after)
    assert change["value"] == pytest.approx(1 / 16)
    spread = 1.959964 * np.sqrt((3.5 + 2.5) - 1 / 18) / 18
    assert change["interval"] == pytest.approx((1 / 18 - spread, 1 / 18 + spread))


def test_cohens_kappa_is_agreement_beyond_chance():
    first = ["y"] * 20 + ["y"] * 5 + ["n"] * 10 + ["n"] * 15
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)  # observed .7, expected .5
    assert cohen_kappa(["y", "y"], ["y", "y"]) is None


def test_the_brier_score_is_the_squared_distance_to_being_right():
    brier = measure(rows())["brier"]
    assert brier["first"] == pytest.approx((11 * 0.2**2 + 5 * 0.8**2) / 16)
    assert brier["final"] == pytest.approx((12 * 0.4**2 + 4 * 0.6**2) / 16)


def test_cases_without_advice_are_a_control_of_their_own():
    control = rows({("a", "b", "a", "b"): 4}, condition="none", start=16)
    metrics = measure(rows() + control)
    assert (metrics["cases"], metrics["advised"]) == (20, 16)
    assert metrics["accuracy"]["reader"]["n"] == 16
    assert metrics["conditions"]["none"]["final"]["count"] == 0
    assert metrics["conditions"]["answer"]["change"]["value"] == pytest.approx(1 / 16)
    assert "No advice" in conclusion(measure(control))


def test_readers_are_averaged_and_not_pooled():
    better = rows({("a", "b", "a", "a"): 10})
    worse = rows({("a", "b", "a", "b"): 10}, reader="ben")
    mean = mean_over_readers(better + worse + worse[:0])
    assert (mean["readers"], mean["images"]) == (2, 10)
    assert mean["reader"]["value"] == 0
    assert mean["change"]["value"] == mean["rair"]["value"] == pytest.approx(0.5)
    assert mean["change"]["interval"] == (0.0, 1.0)  # both readers drawn, or one of them twice
    assert mean["rsr"] == {"value": None, "interval": None}


def test_a_bootstrap_over_images_is_as_wide_as_the_binomial():
    table = {("a", "b", "a", "a"): 50, ("a", "b", "a", "b"): 50}
    same = [row for name in ("anna", "ben") for row in rows(table, reader=name)]
    low, high = mean_over_readers(same)["rair"]["interval"]
    assert (high - low) / 2 == pytest.approx(1.96 * 0.05, rel=0.1)


def test_a_summary_has_all_readers():
    summary = summarize(rows() + rows(reader="ben"))
    assert list(summary["readers"]) == ["anna", "ben"]
    assert summary["pooled"]["cases"] == 32
    assert summarize(rows())["mean"] is None


def test_the_conclusion_claims_nothing_on_few_images():
    assert "too few to conclude" in summarize(rows())["conclusion"]
    many = {("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40}
    assert "helped" in summarize(rows(many))["conclusion"]
    harmful = {("b", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40}
    assert "harm." in summarize(rows(harmful))["conclusion"]
    unclear = {("b", "b", "a", "a"): 10, ("a", "b", "a", "a"): 10, ("a", "a", "a", "a"): 40}
    assert "neither help nor harm" in summarize(rows(unclear))["conclusion"]
