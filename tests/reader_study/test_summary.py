"""Metrics of a reader study, against tables counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from medvit.errors import MedvitError
from medvit.evaluation.metrics import wilson
from medvit.reader_study import CaseResult, conclusion, summarize
from medvit.reader_study.multi_reader import PerReader, mean_over_readers
from medvit.reader_study.summary import cohen_kappa, measure, paired_difference

# (truth, first answer, advice, final answer): how often
TABLE = {
    ("a", "a", "a", "a"): 5,
    ("a", "b", "a", "a"): 3,  # corrected after right advice
    ("a", "b", "a", "b"): 1,  # right advice not followed
    ("b", "b", "a", "b"): 4,  # kept against wrong advice
    ("b", "b", "a", "a"): 2,  # misled
    ("b", "a", "a", "a"): 1,  # both wrong
}
TABLE_LARGE = {answers: 5 * count for answers, count in TABLE.items()}


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
    assert metrics["switches"] == {"to_right": 3, "to_wrong": 2}
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


def test_a_study_without_advice_has_no_reliance_on_advice():
    summary = summarize(rows(condition="none"))
    metrics = summary["pooled"]
    for name in ("rair", "rsr", "over_reliance", "under_reliance"):
        assert metrics[name]["value"] is None
    assert metrics["kappa"]["final"] is None
    assert metrics["change"]["value"] == pytest.approx(1 / 16)
    assert metrics["misled"] == []


def test_readers_are_averaged_and_not_pooled():
    better = rows({("a", "b", "a", "a"): 10})
    worse = rows({("a", "b", "a", "b"): 10}, reader="ben")
    mean = mean_over_readers(better + worse)
    assert (mean["readers"], mean["images"]) == (2, 10)
    assert mean["reader"]["value"] == 0
    assert mean["change"]["value"] == mean["rair"]["value"] == pytest.approx(0.5)
    assert mean["change"]["interval"] == (-1.0, 1.0)  # two readers who differ show next to nothing
    assert mean["rsr"] == {"value": None, "interval": None, "readers": 0}


def test_the_interval_is_that_of_obuchowski_and_rockette_with_hillis_degrees_of_freedom():
    rng = np.random.default_rng(0)
    readers, images = 4, 30
    difficulty = rng.normal(size=images)
    skill = np.array([[-1], [0], [0.5], [1]])
    hits = (difficulty + skill + rng.normal(size=(readers, images)) > -0.5).astype(float)
    jackknife = np.stack([np.delete(hits, i, 1).mean(1) for i in range(images)])  # (images, readers)
    deviations = jackknife - jackknife.mean(0)
    covariances = (images - 1) / images * deviations.T @ deviations
    covariance = max(0, covariances[~np.eye(readers, dtype=bool)].mean())
    between = hits.mean(1).var(ddof=1)
    freedom = (between + readers * covariance) ** 2 / (between**2 / (readers - 1))
    spread = stats.t.ppf(0.975, freedom) * np.sqrt((between + readers * covariance) / readers)
    result = PerReader.rate(hits, np.ones_like(hits)).mean(0, 1)
    assert covariance > 0
    assert result["value"] == pytest.approx(hits.mean())
    assert result["interval"] == pytest.approx((hits.mean() - spread, hits.mean() + spread))


def test_readers_of_other_images_have_the_interval_of_the_t_test():
    values = [0.9, 0.5, 0.7]
    hits, eligible = np.zeros((2, 3, 300))
    for i, value in enumerate(values):
        eligible[i, 100 * i : 100 * i + 100] = 1
        hits[i, 100 * i : 100 * i + round(100 * value)] = 1
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert PerReader.rate(hits, eligible).mean(0, 1)["interval"] == pytest.approx(
        (interval.low, min(1, interval.high))
    )


def test_readers_who_agree_by_chance_have_the_interval_of_their_errors():
    eligible = np.kron(np.eye(4), np.ones(60))  # each has images of its own
    hits = eligible * np.tile([1, 0], 120)  # and is right on half of them
    low, high = PerReader.rate(hits, eligible).mean(0, 1)["interval"]
    variance = 0.25 / 59 / 4  # of the mean of four readers
    spread = stats.t.ppf(0.975, 3) * variance**0.5
    assert (low, high) == pytest.approx((0.5 - spread, 0.5 + spread))


def test_a_second_look_of_one_reader_alone_is_no_control_for_several():
    better = rows({("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40})
    others = [row for name in ("ben", "cora") for row in rows(TABLE_LARGE, name, start=70)]
    control = rows({("a", "a", "a", "a"): 40}, condition="none", start=200)
    summary = summarize(better + others + control)
    assert summary["mean"]["beyond_control"] is None
    two = summarize(better + others + control + rows({("a", "a", "a", "a"): 40}, "ben", "none", start=200))
    assert two["mean"]["beyond_control"]["readers"] == 2
    assert "for the 2 readers who also had such cases" in two["conclusion"]


def test_images_that_a_reader_sees_in_two_studies_are_no_new_evidence():
    once = rows({("a", "b", "a", "a"): 6, ("a", "a", "a", "a"): 24})
    twice = once + [replace(row, study="another") for row in once]
    summary = summarize(twice)
    assert "on 30 images. Fewer than 50" in summary["conclusion"]
    assert summary["pooled"]["change"]["interval"] is None
    assert summary["pooled"]["mcnemar"]["reader_with_model, reader"]["p"] is None
    many = rows({("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40})
    assert "read more than once" in summarize(many + [replace(row, study="x") for row in many])["conclusion"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, "1 cases of the reader 'anna' are there twice"),
        ({"reader": "ben", "truth": "b"}, "different true classes"),
        ({"reader": "ben", "condition": "set"}, "another image, condition or advice"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(change, problem):
    answers = rows()
    with pytest.raises(MedvitError, match=problem):
        summarize([*answers, replace(answers[0], **change)])


def test_answers_that_do_not_vary_have_no_interval():
    right = rows({("a", "a", "a", "a"): 60}) + rows({("a", "a", "a", "a"): 60}, reader="ben")
    assert mean_over_readers(right)["change"] == {"value": 0.0, "interval": None, "readers": 2}
    assert "vary too little" in summarize(right)["conclusion"]


def test_copies_of_one_reader_are_no_new_evidence():
    once = summarize(rows(TABLE_LARGE))
    copies = summarize([row for name in "abcdefgh" for row in rows(TABLE_LARGE, reader=name)])
    low, high = copies["mean"]["change"]["interval"]
    once_low, once_high = once["pooled"]["change"]["interval"]
    assert high - low == pytest.approx(once_high - once_low, rel=0.05)
    assert copies["pooled"]["change"]["interval"] is None
    assert copies["pooled"]["mcnemar"]["reader_with_model, reader"]["p"] is None
    assert copies["pooled"]["accuracy"]["reader"]["interval"] is None


def test_a_summary_has_all_readers():
    summary = summarize(rows() + rows(reader="ben"))
    assert list(summary["readers"]) == ["anna", "ben"]
    assert summary["pooled"]["cases"] == 32
    assert summarize(rows())["mean"] is None


def test_the_conclusion_claims_nothing_on_few_images():
    assert "too few to conclude" in summarize(rows())["conclusion"]
    unclear = {("b", "b", "a", "a"): 10, ("a", "b", "a", "a"): 10, ("a", "a", "a", "a"): 40}
    assert "neither help nor harm" in summarize(rows(unclear))["conclusion"]


def test_without_a_control_the_conclusion_does_not_say_that_the_advice_was_the_cause():
    better = {("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40}
    assert "became better after the advice; without" in summarize(rows(better))["conclusion"]
    worse = {("b", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40}
    assert "became worse after the advice; without" in summarize(rows(worse))["conclusion"]


@pytest.mark.parametrize("readers", [["anna"], ["anna", "ben", "cora"]])
def test_the_verdict_is_about_the_change_beyond_that_of_a_second_look(readers):
    better = {("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40, ("b", "b", "a", "b"): 5}
    unchanged = {("a", "b", "a", "b"): 30, ("a", "a", "a", "a"): 45}

    def study(control):
        return [
            row for name in readers for row in rows(better, name) + rows(control, name, "none", start=100)
        ]

    helped = summarize(study(unchanged))
    assert helped["conclusion"].count("The advice helped.") == 1
    source = helped["mean"] or helped["pooled"]
    assert source["beyond_control"]["value"] == pytest.approx(0.4)
    as_good_without = summarize(study(better))
    assert "neither help nor harm" in as_good_without["conclusion"]


def test_the_change_beyond_a_second_look_adds_both_variances():
    advised = rows({("a", "b", "a", "a"): 12, ("b", "b", "a", "a"): 2, ("a", "a", "a", "a"): 26})
    control = rows({("a", "b", "a", "a"): 3, ("a", "a", "a", "a"): 17}, condition="none", start=40)
    beyond = measure(advised + control)["beyond_control"]
    assert beyond["value"] == pytest.approx(10 / 40 - 3 / 20)
    variance = (14 + 1 - 100 / 42) / 42**2 + (3 + 1 - 9 / 22) / 22**2
    centre = 10 / 42 - 3 / 22
    assert beyond["interval"] == pytest.approx(
        (centre - 1.959964 * variance**0.5, centre + 1.959964 * variance**0.5)
    )


def test_one_advised_reader_beside_readers_without_advice_is_judged_alone():
    better = {("a", "b", "a", "a"): 30, ("a", "a", "a", "a"): 40}
    summary = summarize(rows(better) + rows(better, reader="ben", condition="none", start=100))
    assert "for one reader on 70 images" in summary["conclusion"]
    assert summary["mean"]["beyond_control"] is None
