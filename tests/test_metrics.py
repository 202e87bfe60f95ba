import numpy as np
import pytest
from medmnist.evaluator import getACC, getAUC
from scipy.special import logit

from medvit.checkpoint import to_half
from medvit.data import medmnist
from medvit.evaluation import metrics


def example(task: str, classes: int, count: int = 200):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    if task == "multi-label, binary-class":
        return logits, rng.integers(0, 2, (count, classes))
    labels = rng.integers(0, classes, count)
    logits[np.arange(count), labels] += 1
    return logits, labels


TASKS = [
    ("multi-class", 8),
    ("binary-class", 2),
    ("ordinal-regression", 5),
    ("multi-label, binary-class", 14),
]


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_auc_and_accuracy_are_those_of_medmnist(task, classes):
    logits, labels = example(task, classes)
    figures = metrics.evaluate(logits, labels, task, tuple(map(str, range(classes))))
    scores = metrics.probabilities(logits, task == "multi-label, binary-class")
    assert figures["auc"] == pytest.approx(getAUC(labels, scores, task))
    assert figures["accuracy"] == pytest.approx(getACC(labels, scores, task))
    for name, value in metrics.brief(logits, labels, task).items():
        assert value == pytest.approx(figures[name]), name


def test_the_figures_of_a_small_case_by_hand():
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [0, 2]])
    labels = np.array([0, 1, 1, 1])
    figures = metrics.evaluate(logits, labels, "binary-class", ("malignant", "benign"))
    assert figures["accuracy"] == 0.75
    assert figures["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    malignant = figures["per_class"]["malignant"]
    del malignant["recall_interval"], malignant["auc_interval"]
    expected = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "auc": 5 / 6, "support": 1}
    assert malignant == pytest.approx(expected)
    assert metrics.confusion(logits, labels).tolist() == [[1, 0], [1, 2]]


def test_the_interval_is_wilsons():
    low, high = metrics.wilson(80, 100)
    assert (low, high) == pytest.approx((0.7112, 0.8666), abs=1e-4)


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_the_interval_of_the_auc_is_that_of_the_bootstrap(task, classes):
    logits, labels = example(task, classes, 300)
    scores = metrics.probabilities(logits, task == "multi-label, binary-class")
    low, high = metrics.auc_interval(labels, scores, task)
    rng = np.random.default_rng(1)
    drawn = [metrics.auc(labels[i], scores[i], task) for i in rng.integers(0, 300, (120, 300))]
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.3 * (high - low))
    assert low < metrics.auc(labels, scores, task) < high


def test_the_spread_of_an_auc_is_delongs():
    rng = np.random.default_rng(0)
    truth = np.arange(12) < 5
    score = rng.normal(size=12) + truth
    wins = score[truth][:, None] > score[~truth]
    variance = wins.mean(1).var(ddof=1) / 5 + wins.mean(0).var(ddof=1) / 7
    low, high = metrics.auc_interval(truth.astype(int), score[:, None], "binary-class")
    area = wins.mean()
    width = 2 * 1.96 * np.sqrt(variance) / (area * (1 - area))
    assert logit(high) - logit(low) == pytest.approx(width)


def test_a_perfect_auc_has_an_interval_below_it():
    low, high = metrics.auc_interval(np.array([0, 0, 1, 1]), np.eye(2)[[0, 0, 1, 1]], "binary-class")
    assert 0.9 < low <= high <= 1


def test_mcnemar_counts_only_where_two_models_differ():
    one = np.array([True] * 90 + [False] * 10)
    other = np.array([True] * 80 + [False] * 18 + [True] * 2)
    only, other_only, p = metrics.mcnemar(one, other)
    assert (only, other_only) == (10, 2)
    assert p == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # twice the binomial tail of 2 in 12
    assert metrics.mcnemar(one, one) == (0, 0, 1.0)


def test_ordinal_subsets_report_kappa_and_distance():
    logits = np.eye(5)[[0, 1, 2, 3, 4]] * 9
    figures = metrics.evaluate(logits, np.array([0, 1, 2, 3, 3]), "ordinal-regression", tuple("01234"))
    assert figures["mean_absolute_error"] == pytest.approx(0.2)
    # 1 - observed / expected squared distance: 1/5 over the mean of (i - j)^2 for independent draws.
    truth, said = np.array([0, 1, 2, 3, 3]), np.arange(5)
    expected = ((truth[:, None] - said[None]) ** 2).mean()
    assert figures["quadratic_kappa"] == pytest.approx(1 - 0.2 / expected)


def test_a_class_without_images_breaks_nothing():
    logits, labels = example("multi-class", 3)
    figures = metrics.evaluate(logits, np.zeros_like(labels), "multi-class", tuple("abc"))
    assert np.isnan(figures["auc"])
    assert figures["per_class"]["b"]["recall_interval"] is None


@pytest.mark.parametrize("name", medmnist.names())
def test_every_subset_can_be_evaluated(name):
    facts = medmnist.get(name)
    logits, labels = example(facts.task, len(facts.classes), 400)
    figures = metrics.evaluate(logits, labels, facts.task, facts.classes)
    assert set(figures["per_class"]) == set(facts.classes)
    assert figures["accuracy_interval"][0] < figures["accuracy"] < figures["accuracy_interval"][1]


def test_rounding_to_half_keeps_the_winner_and_the_values():
    close = np.array([[10.001, 10.0, -3], [10.0, 10.001, -3], [-5.0001, -5.0, -9]], np.float32)
    many = np.random.default_rng(0).normal(size=(5000, 9)).astype(np.float32)
    for logits in (close, many):
        half = to_half(logits)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half.argmax(1), logits.argmax(1))
        np.testing.assert_allclose(half, logits, rtol=2e-3, atol=1e-4)
