import numpy as np
import pytest
from medmnist.evaluator import getACC, getAUC

from medvit.data import medmnist
from medvit.evaluation import metrics

TASKS = [
    ("multi-class", 8),
    ("binary-class", 2),
    ("ordinal-regression", 5),
    ("multi-label, binary-class", 14),
]


def example(task: str, classes: int, count: int = 200):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    if task == "multi-label, binary-class":
        return logits, rng.integers(0, 2, (count, classes))
    labels = rng.integers(0, classes, count)
    logits[np.arange(count), labels] += 1
    return logits, labels


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_auc_and_accuracy_are_those_of_medmnist(task, classes):
    logits, labels = example(task, classes)
    evaluated = metrics.evaluate(logits, labels, task, tuple(map(str, range(classes))))
    scores = metrics.probabilities(logits, task == "multi-label, binary-class")
    assert evaluated["auc"] == pytest.approx(getAUC(labels, scores, task))
    assert evaluated["accuracy"] == pytest.approx(getACC(labels, scores, task))
    for name, value in metrics.summary(logits, labels, task).items():
        assert value == pytest.approx(evaluated[name]), name


def test_a_small_example_by_hand():
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [0, 2]])
    labels = np.array([0, 1, 1, 1])
    evaluated = metrics.evaluate(logits, labels, "binary-class", ("malignant", "benign"))
    assert evaluated["accuracy"] == 0.75
    assert evaluated["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert evaluated["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    malignant = evaluated["per_class"]["malignant"]
    del malignant["recall_interval"], malignant["auc_interval"]
    expected = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "auc": 5 / 6, "support": 1}
    assert malignant == pytest.approx(expected)
    assert metrics.confusion(logits, labels).tolist() == [[1, 0], [1, 2]]


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_the_interval_of_the_auc_is_that_of_the_bootstrap(task, classes):
    logits, labels = example(task, classes, 300)
    scores = metrics.probabilities(logits, task == "multi-label, binary-class")
    area, (low, high) = metrics.auc(labels, scores, task)
    rng = np.random.default_rng(1)
    drawn = [metrics.auc(labels[i], scores[i], task)[0] for i in rng.integers(0, 300, (120, 300))]
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.3 * (high - low))
    assert low < area < high


def test_mcnemar_counts_only_images_on_which_two_models_differ():
    right = np.array([True] * 90 + [False] * 10)
    other_right = np.array([True] * 80 + [False] * 18 + [True] * 2)
    only, other_only, p = metrics.mcnemar(right, other_right)
    assert (only, other_only) == (10, 2)
    assert p == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # twice the binomial tail of 2 in 12
    assert metrics.mcnemar(right, right) == (0, 0, 1.0)


def test_ordinal_tasks_report_kappa_and_mean_absolute_error():
    logits, labels = np.eye(5) * 9, np.array([0, 1, 2, 3, 3])
    evaluated = metrics.evaluate(logits, labels, "ordinal-regression", tuple("01234"))
    assert evaluated["mean_absolute_error"] == pytest.approx(0.2)
    # 1 - observed / expected squared distance: 1/5 over the mean of (i - j)^2 for independent draws.
    expected = ((labels[:, None] - np.arange(5)) ** 2).mean()
    assert evaluated["quadratic_kappa"] == pytest.approx(1 - 0.2 / expected)


def test_classes_without_images_are_no_error():
    logits, labels = example("multi-class", 3)
    evaluated = metrics.evaluate(logits, np.zeros_like(labels), "multi-class", tuple("abc"))
    assert np.isnan(evaluated["auc"])
    assert evaluated["per_class"]["b"]["recall_interval"] is None


@pytest.mark.parametrize("name", medmnist.names())
def test_every_dataset_can_be_evaluated(name):
    dataset = medmnist.get(name)
    logits, labels = example(dataset.task, len(dataset.classes), 400)
    evaluated = metrics.evaluate(logits, labels, dataset.task, dataset.classes)
    assert set(evaluated["per_class"]) == set(dataset.classes)
    low, high = evaluated["accuracy_interval"]
    assert low < evaluated["accuracy"] < high


def test_the_distance_of_two_grades_counts_the_grades_between_them_that_do_not_occur():
    labels, predicted = np.array([0, 0, 1, 1, 4, 4]), np.array([0, 1, 1, 1, 4, 0])
    weights = (np.arange(5)[:, None] - np.arange(5)) ** 2
    observed = weights[labels, predicted].mean()
    expected = weights[labels[:, None], predicted].mean()
    evaluated = metrics.evaluate(5.0 * np.eye(5)[predicted], labels, "ordinal-regression", tuple("abcde"))
    assert evaluated["quadratic_kappa"] == pytest.approx(1 - observed / expected)
    alone = metrics.evaluate(np.eye(5)[[0, 0]], np.array([0, 0]), "ordinal-regression", tuple("abcde"))
    assert np.isnan(alone["quadratic_kappa"])


def test_the_labels_of_an_image_are_one_observation_for_the_interval_of_the_accuracy():
    logits, labels = example("multi-label, binary-class", 14)
    evaluated = metrics.evaluate(logits, labels, "multi-label, binary-class", tuple("abcdefghijklmn"))
    assert evaluated["accuracy_interval"] == metrics.wilson(200 * evaluated["accuracy"], 200)
