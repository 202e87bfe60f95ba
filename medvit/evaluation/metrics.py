"""Metrics of predictions, with 95 % intervals: pure functions of logits or scores, and labels.

Labels are class indices (N,), or (N, C) of 0 and 1 for a multi-label task. Scores are (N, C), higher for a
likelier class. Fractions are in 0..1.
"""

from typing import Any

import numpy as np

from medvit.evaluation.one_vs_rest import Interval, OneVsRest, per_class, wilson_intervals
from medvit.slow_imports import scipy_special, scipy_stats, sklearn_metrics

PER_CLASS = ("precision", "recall", "recall_interval", "f1", "auc", "auc_interval", "support")  # in a card


def probabilities(logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Logits (..., C) to probabilities (..., C) in float64: softmax, or a sigmoid per label."""
    logits = np.asarray(logits, np.float64)
    return scipy_special.expit(logits) if multi_label else scipy_special.softmax(logits, axis=-1)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy (..., 1) of probabilities (..., C), divided by log(C): 0 is certain, 1 uniform."""
    return -(probs * np.log(probs.clip(1e-12))).sum(-1, keepdims=True) / np.log(probs.shape[-1])


def cross_entropy(labels: np.ndarray, probs: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats, of labels under probabilities (N, C)."""
    probs = probs.clip(1e-12, 1)
    if labels.ndim == 2:
        return float(-np.where(labels, np.log(probs), np.log1p(-probs.clip(max=1 - 1e-12))).mean())
    return float(-np.log(probs[np.arange(len(labels)), labels]).mean())


def wilson(successes: float, total: int) -> Interval:
    """The 95 % Wilson score interval of a proportion."""
    low, high = wilson_intervals(np.array(successes), np.array(total))
    return float(low), float(high)


def auc(labels: np.ndarray, scores: np.ndarray, task: str) -> tuple[float, Interval | None]:
    """Area under the ROC curve as medmnist's Evaluator has it, and its 95 % DeLong interval, if it has one.

    For two classes it is that of the last class, else the mean over the classes that have a curve.
    """
    every_class = OneVsRest.of(labels, scores)
    if task == "binary-class":
        return OneVsRest.binary(every_class.truth[:, -1], scores[:, -1]).mean_auc()
    return every_class.mean_auc()


def mcnemar(right: np.ndarray, other_right: np.ndarray) -> tuple[int, int, float]:
    """Whether two models differ on the same images (McNemar's exact test).

    Args:
        right, other_right: bool (N,), whether each model is right on each image.

    Returns:
        images that only the first gets right, images that only the second does, and the two-sided p value.
    """
    only, other_only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    if only + other_only == 0:
        return 0, 0, 1.0
    return only, other_only, float(scipy_stats.binomtest(only, only + other_only).pvalue)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts (C, C) of single-label predictions; rows are the true classes."""
    classes = logits.shape[1]
    return np.bincount(classes * labels + logits.argmax(1), minlength=classes**2).reshape(classes, classes)


def summary(logits: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """The accuracy, macro_f1, auc and loss of `evaluate` alone, for each epoch of a training."""
    multi_label = task == "multi-label, binary-class"
    probs = probabilities(logits, multi_label)
    each = OneVsRest.of(labels, probs)
    return {
        "accuracy": float(_correct(each, multi_label).mean()),
        "macro_f1": float(each.f1.mean()),
        "auc": auc(labels, probs, task)[0],
        "loss": cross_entropy(labels, probs),
    }


def _correct(each: OneVsRest, multi_label: bool) -> np.ndarray:
    """Whether each image is right, (N,), or each label of each image, (N, C)."""
    right = each.predicted == each.truth
    return right if multi_label else right.all(1)


def _quadratic_kappa(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Cohen's kappa with quadratic weights, NaN where there is one grade only.

    scikit-learn takes the distance of two grades from all of them, whether or not they occur.
    """
    if len({*labels.tolist(), *predicted.tolist()}) == 1:
        return np.nan
    grades = list(range(classes))
    return float(sklearn_metrics.cohen_kappa_score(labels, predicted, labels=grades, weights="quadratic"))


def evaluate(logits: np.ndarray, labels: np.ndarray, task: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """All metrics of one split, as card.json holds them.

    Args:
        logits: (N, C). task: as in `medvit.data.Dataset.task`.

    Returns:
        accuracy (for a multi-label task the mean over labels, as medmnist has it) with its Wilson interval,
        for which an image is one observation, balanced accuracy, macro precision, recall and F1, AUC with its
        DeLong interval (None where it cannot be estimated), loss, and `per_class` with the same for each
        class and its support. Ordinal tasks add quadratic weighted kappa and mean
        absolute error.
    """
    multi_label = task == "multi-label, binary-class"
    probs = probabilities(logits, multi_label)
    each = OneVsRest.of(labels, probs)
    correct = _correct(each, multi_label)
    area, area_interval = auc(labels, probs, task)
    balanced = each.balanced_accuracy if multi_label else each.recall[each.support > 0]
    metrics = {
        "n": len(labels),
        "accuracy": float(correct.mean()),
        "accuracy_interval": wilson(correct.mean() * len(labels), len(labels)),
        "balanced_accuracy": float(balanced.mean()),
        "macro_precision": float(each.precision.mean()),
        "macro_recall": float(each.recall.mean()),
        "macro_f1": float(each.f1.mean()),
        "auc": area,
        "auc_interval": area_interval,
        "loss": cross_entropy(labels, probs),
    }
    if task == "ordinal-regression":
        predicted = logits.argmax(1)
        metrics["quadratic_kappa"] = _quadratic_kappa(labels, predicted, logits.shape[1])
        metrics["mean_absolute_error"] = float(np.abs(predicted - labels).mean())
    metrics["per_class"] = {
        row.name: {key: getattr(row, key) for key in PER_CLASS} for row in per_class(labels, probs, classes)
    }
    return metrics
