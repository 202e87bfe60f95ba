"""Figures of a set of predictions, with 95 % intervals. Pure functions of logits and labels.

scikit-learn and scipy are imported where they are used: they take seconds, and the app shows its first page
without.
"""

from typing import Any

import numpy as np


def probabilities(logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Logits (..., C) to probabilities (..., C) in float64: softmax, or a sigmoid per label."""
    from scipy.special import expit, softmax

    logits = np.asarray(logits, np.float64)
    return expit(logits) if multi_label else softmax(logits, axis=-1)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy (..., 1) of probabilities (..., C), as a share of log(C): 0 is sure, 1 knows nothing."""
    return -(probs * np.log(probs.clip(1e-12))).sum(-1, keepdims=True) / np.log(probs.shape[-1])


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


def auc_interval(labels: np.ndarray, scores: np.ndarray, task: str) -> tuple[float, float]:
    """The 95 % interval of `auc`, by the method of DeLong et al. (1988) on the logit scale.

    Where a mean over classes is taken, so are each image's contributions, so that their correlation counts.
    """
    from scipy.special import expit, logit
    from scipy.stats import rankdata

    curves = _curves(labels, scores, task)
    if not curves:
        return float("nan"), float("nan")
    contribution, area = np.zeros(len(labels)), 0.0
    for truth, score in curves:
        truth = truth.astype(bool)
        ranks, positives, negatives = rankdata(score), truth.sum(), (~truth).sum()
        beaten = (ranks[truth] - rankdata(score[truth])) / negatives  # share of negatives below each positive
        above = 1 - (ranks[~truth] - rankdata(score[~truth])) / positives
        area += beaten.mean() / len(curves)
        for which, probs in ((truth, beaten), (~truth, above)):
            count = len(probs)
            contribution[which] += (probs - probs.mean()) / np.sqrt(count * max(count - 1, 1)) / len(curves)
    inside = min(max(area, 1e-6), 1 - 1e-6)
    spread = 1.96 * np.sqrt((contribution**2).sum()) / (inside * (1 - inside))
    return float(expit(logit(inside) - spread)), float(expit(logit(inside) + spread))


def _curves(labels: np.ndarray, scores: np.ndarray, task: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(truth, score) of each ROC curve that there is."""
    if task == "binary-class":
        pairs = [(labels == 1, scores[:, -1])]
    else:
        one_hot = labels if labels.ndim == 2 else labels[:, None] == np.arange(scores.shape[1])
        pairs = list(zip(one_hot.T, scores.T, strict=True))
    return [(truth, score) for truth, score in pairs if 0 < truth.sum() < len(truth)]


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion."""
    from scipy.stats import binomtest

    interval = binomtest(int(correct), int(total)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(right: np.ndarray, other_right: np.ndarray) -> tuple[int, int, float]:
    """Whether two models differ on the same images (McNemar's exact test).

    Args:
        right, other_right: bool (N,), whether each model is right on each image.

    Returns:
        images that only the first gets right, images that only the other does, and the two-sided p value.
    """
    from scipy.stats import binomtest

    only, other_only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    if only + other_only == 0:
        return 0, 0, 1.0
    return only, other_only, float(binomtest(only, only + other_only).pvalue)


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
        balanced accuracy, macro precision, recall and F1, AUC with its DeLong interval, and `per_class` with
        the same for each class and its support. Ordinal tasks add quadratic weighted kappa and mean absolute
        error. Shares are in 0..1.
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
        "auc_interval": auc_interval(labels, scores, task),
        "loss": cross_entropy(labels, scores),
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
            "auc_interval": auc_interval(truth[:, i], scores[:, [i]], "binary-class"),
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
        "loss": cross_entropy(labels, scores),
    }


def cross_entropy(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats, of labels (N,), or (N, C) of 0 and 1, under scores (N, C)."""
    scores = scores.clip(1e-12, 1)
    if labels.ndim == 2:
        return float(-np.where(labels, np.log(scores), np.log1p(-scores.clip(max=1 - 1e-12))).mean())
    return float(-np.log(scores[np.arange(len(labels)), labels]).mean())
