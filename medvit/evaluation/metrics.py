"""Figures of a set of predictions, with 95 % intervals. Pure functions of logits and labels.

scikit-learn and scipy.stats are imported where they are used: they take seconds, and the app shows its first
page without.
"""

from typing import Any

import numpy as np
from scipy.special import expit, softmax


def probabilities(logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Logits (N, C) to probabilities (N, C) in float64: softmax, or a sigmoid per label."""
    logits = np.asarray(logits, np.float64)
    return expit(logits) if multi_label else softmax(logits, axis=1)


def auc(labels: np.ndarray, scores: np.ndarray, task: str) -> float:
    """Area under the ROC curve as medmnist's Evaluator has it.

    For two classes it is that of the last class, else the mean over classes. A class that is absent, or
    alone, has no ROC curve and is left out; NaN where none is left.
    """
    from scipy.stats import rankdata

    if task == "binary-class":
        truth, scores = labels[:, None] == 1, scores[:, -1:]
    else:
        truth = labels == 1 if labels.ndim == 2 else labels[:, None] == np.arange(scores.shape[1])
    ranks = rankdata(scores, axis=0)  # Mann and Whitney: from ranks; ties count half
    positive = truth.sum(0)
    negative = len(truth) - positive
    there = (positive > 0) & (negative > 0)
    above = (ranks * truth).sum(0) - positive * (positive + 1) / 2
    areas = above[there] / (positive * negative)[there]
    return float(areas.mean()) if len(areas) else float("nan")


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion."""
    from scipy.stats import binomtest

    interval = binomtest(int(correct), int(total)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts (C, C) of single-label predictions; rows are the truth."""
    from sklearn import metrics as sk

    return sk.confusion_matrix(labels, logits.argmax(1), labels=np.arange(logits.shape[1]))


def evaluate(logits: np.ndarray, labels: np.ndarray, task: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """All figures of one split.

    Args:
        logits: (N, C). labels: (N,) class indices, or (N, C) of 0 and 1 for a multi-label task.
        task: as in `medvit.subsets.Subset.task`.

    Returns:
        accuracy (for a multi-label task the mean over labels, as medmnist has it) with its Wilson interval,
        balanced accuracy, macro precision, recall and F1, AUC, and `per_class` with the same for each class
        and its
        support. Ordinal tasks add quadratic weighted kappa and mean absolute error. Shares are in 0..1.
    """
    from sklearn import metrics as sk

    multi_label = task == "multi-label, binary-class"
    scores = probabilities(logits, multi_label)
    one_hot = np.eye(len(classes), dtype=bool)
    predicted = logits > 0 if multi_label else one_hot[logits.argmax(1)]  # (N, C)
    truth = labels.astype(bool) if multi_label else one_hot[labels]  # (N, C)
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted, zero_division=0)
    right = predicted == truth if multi_label else (predicted == truth).all(1)
    figures = {
        "n": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson(right.sum(), right.size),
        "balanced_accuracy": float(
            np.mean([sk.balanced_accuracy_score(*pair) for pair in zip(truth.T, predicted.T, strict=True)])
            if multi_label
            else recall[support > 0].mean()
        ),
        "macro_precision": float(precision.mean()),
        "macro_recall": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "auc": auc(labels, scores, task),
        "loss": _cross_entropy(truth, scores, multi_label),
    }
    if task == "ordinal-regression":
        guess = logits.argmax(1)
        figures["quadratic_kappa"] = float(sk.cohen_kappa_score(labels, guess, weights="quadratic"))
        figures["mean_absolute_error"] = float(np.abs(guess - labels).mean())
    figures["per_class"] = {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "recall_interval": wilson((truth & predicted)[:, i].sum(), support[i]) if support[i] else None,
            "f1": float(f1[i]),
            "auc": auc(truth[:, i], scores[:, [i]], "binary-class"),
            "support": int(support[i]),
        }
        for i, name in enumerate(classes)
    }
    return figures


def brief(logits: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """The accuracy, macro_f1, auc and loss of `evaluate` alone, in a tenth of its time: for each epoch."""
    multi_label = task == "multi-label, binary-class"
    scores = probabilities(logits, multi_label)
    one_hot = np.eye(logits.shape[1], dtype=bool)
    predicted = logits > 0 if multi_label else one_hot[logits.argmax(1)]  # (N, C)
    truth = labels.astype(bool) if multi_label else one_hot[labels]  # (N, C)
    both, either = (truth & predicted).sum(0), truth.sum(0) + predicted.sum(0)
    return {
        "accuracy": float((predicted == truth).mean() if multi_label else both.sum() / len(labels)),
        "macro_f1": float((2 * both / np.maximum(either, 1)).mean()),
        "auc": auc(labels, scores, task),
        "loss": _cross_entropy(truth, scores, multi_label),
    }


def _cross_entropy(truth: np.ndarray, scores: np.ndarray, multi_label: bool) -> float:
    scores = scores.clip(1e-12, 1)
    if multi_label:
        return float(-np.where(truth, np.log(scores), np.log1p(-scores.clip(max=1 - 1e-12))).mean())
    return float(-np.log(scores[truth]).mean())
