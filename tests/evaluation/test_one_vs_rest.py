import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import binomtest
from sklearn import metrics as sk

from medvit.evaluation.metrics import probabilities, wilson
from medvit.evaluation.one_vs_rest import (
    OneVsRest,
    Z,
    average_precision_interval,
    per_class,
    precision_recall_curves,
    roc_curves,
    wilson_intervals,
)


@pytest.fixture(params=[4, 2, "several labels"])
def labels_and_probs(request):
    """Random predictions with many ties: of 4 classes, of 2, and of several labels an image."""
    rng = np.random.default_rng(0)
    classes = 6 if request.param == "several labels" else request.param
    logits = rng.normal(size=(150, classes)).round(1)
    if request.param == "several labels":
        labels = rng.integers(0, 2, (150, classes))
        labels[:, 2], labels[:, 3] = 0, 1
        return labels, probabilities(logits, multi_label=True)
    return rng.integers(0, classes, 150), probabilities(logits)


def test_everything_equals_scikit_learn(labels_and_probs):
    labels, probs = labels_and_probs
    each = OneVsRest.of(labels, probs)
    expected = sk.precision_recall_fscore_support(each.truth, each.predicted, zero_division=0)
    for values, theirs in zip((each.precision, each.recall, each.f1, each.support), expected, strict=True):
        np.testing.assert_allclose(values, theirs)
    for i in range(probs.shape[1]):
        if each.has_curve[i]:
            assert each.auc[i] == pytest.approx(sk.roc_auc_score(each.truth[:, i], probs[:, i]))
            area = sk.average_precision_score(each.truth[:, i], probs[:, i])
            assert each.average_precision[i] == pytest.approx(area)
            accuracy = sk.balanced_accuracy_score(each.truth[:, i], each.predicted[:, i])
            assert each.balanced_accuracy[i] == pytest.approx(accuracy)
        else:
            assert np.isnan([each.auc[i], each.average_precision[i], *each.auc_interval[i]]).all()


def test_the_spread_of_an_auc_is_delongs():
    rng = np.random.default_rng(0)
    truth = np.arange(12) < 5
    score = rng.normal(size=12) + truth
    wins = score[truth][:, None] > score[~truth]
    variance = wins.mean(1).var(ddof=1) / 5 + wins.mean(0).var(ddof=1) / 7
    (low, high), area = OneVsRest.binary(truth, score).auc_interval[0], wins.mean()
    width = 2 * Z * np.sqrt(variance) / (area * (1 - area))
    assert logit(high) - logit(low) == pytest.approx(width)


@pytest.mark.parametrize(
    ("truth", "score"),
    [([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([0, 0, 0, 1], [0.1, 0.9, 0.2, 0.8]), ([0, 1], [0.0, 1.0])],
    ids=["a perfect ranking", "one positive", "one of each"],
)
def test_an_auc_whose_variance_cannot_be_estimated_has_no_interval(truth, score):
    curve = OneVsRest.binary(np.array(truth, bool), np.array(score))
    assert np.isnan(curve.auc_interval).all()
    assert curve.mean_auc() == (curve.auc[0], None)


@pytest.mark.parametrize(("successes", "total"), [(80, 100), (0, 5), (5, 5), (3, 7), (1, 1)])
def test_the_interval_of_a_proportion_is_wilsons(successes, total):
    expected = binomtest(successes, total).proportion_ci(method="wilson")
    assert wilson(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_proportion_of_nothing_has_no_interval():
    assert np.isnan(wilson_intervals(np.array([0]), np.array([0]))).all()


def test_metrics_lie_in_their_intervals():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    probs = np.eye(3)[np.where(rng.random(300) < 0.7, labels, rng.integers(0, 3, 300))]
    for row in per_class(labels, probs, ("a", "b", "c")):
        for metric in ("precision", "recall", "f1", "auc"):
            low, high = getattr(row, f"{metric}_interval")
            assert low < getattr(row, metric) < high
            assert 0.03 < high - low < 0.3


def test_an_absent_class_has_no_interval():
    absent = per_class(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]], ("a", "b", "c"))[2]
    assert (absent.support, absent.recall_interval, absent.f1_interval) == (0, None, None)
    assert absent.auc_interval is None
    assert np.isnan(absent.auc)


def test_a_perfect_f1_has_no_bootstrap_interval():
    truth = np.repeat([0, 1], 5)
    perfect = per_class(truth, np.eye(2)[truth], ("a", "b"))[0]
    assert (perfect.f1, perfect.f1_interval) == (1, None)
    assert perfect.recall_interval[0] < 0.6
    low, high = per_class(truth, np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]], ("a", "b"))[0].f1_interval
    assert low < high


def test_the_average_precision_lies_in_its_bootstrap_interval():
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    score = rng.normal(truth)
    low, high = average_precision_interval(truth, score)
    assert low < OneVsRest.binary(truth, score).average_precision[0] < high


def test_a_perfect_separation_has_no_interval_of_the_average_precision():
    truth = np.repeat([False, True], 20)
    assert average_precision_interval(truth, truth.astype(float)) is None


@pytest.mark.parametrize("curves", [roc_curves, precision_recall_curves])
def test_curves_are_of_the_classes_that_have_one(curves):
    labels, probs = (
        np.array([0, 0, 1, 1]),
        np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.3, 0.7, 0], [0, 0.5, 0.5]]),
    )
    drawn = curves(labels, probs, ("a", "b", "absent"))
    assert list(drawn) == ["a", "b"]
    for x, y, area in drawn.values():
        assert (np.diff(x) >= 0).all()
        assert (x[0], x[-1]) == (0, 1)
        assert ((y >= 0) & (y <= 1)).all()
        assert 0 < area <= 1
