"""Operating points of a two-class model. Pure functions of the positive class's probability (N,)."""

from typing import Any

import numpy as np

from medvit.evaluation.metrics import wilson
from medvit.evaluation.one_vs_rest import Interval, OneVsRest, Z, average_precision_interval
from medvit.slow_imports import scipy_special, sklearn_metrics

PRESETS = ("90 % sensitivity", "Youden")


def choose(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Choose the thresholds (2,) of `PRESETS` on a split.

    The highest with a sensitivity of at least 90 %, and that of the largest sum of sensitivity and
    specificity (Youden, 1950).

    Args:
        truth: bool (N,), whether each image is positive.
    """
    fpr, tpr, thresholds = sklearn_metrics.roc_curve(truth, score, drop_intermediate=False)
    sensitive = thresholds[np.argmax(tpr >= 0.9)]
    return np.array([sensitive, thresholds[np.argmax(tpr - fpr)]]).clip(0, 1)


def at(
    score: np.ndarray, truth: np.ndarray, threshold: float, prevalence: float | None = None
) -> dict[str, Any]:
    """Compute the metrics of a threshold.

    Args:
        truth: bool (N,). prevalence: fraction of positives in the intended population; that of `truth` if
            None.

    Returns:
        sensitivity and specificity with Wilson intervals, ppv and npv at the prevalence with intervals on the
        logit scale (Mercaldo, Lau and Zhou, 2007), and the counts tp, fn, fp, tn. A ppv or npv that no image
        has is NaN and has no interval.
    """
    tp, fp, fn, tn = OneVsRest.binary(truth, score, threshold).counts[:, 0].tolist()
    prevalence = float(truth.mean()) if prevalence is None else prevalence
    ppv, npv = _predictive_values(tp, fn, fp, tn, prevalence)
    return {
        "sensitivity": tp / (tp + fn),
        "sensitivity_interval": wilson(tp, tp + fn),
        "specificity": tn / (tn + fp),
        "specificity_interval": wilson(tn, tn + fp),
        "ppv": ppv[0],
        "ppv_interval": ppv[1],
        "npv": npv[0],
        "npv_interval": npv[1],
        "prevalence": prevalence,
    } | {"tp": tp, "fn": fn, "fp": fp, "tn": tn}


def _predictive_values(tp: int, fn: int, fp: int, tn: int, prevalence: float) -> tuple[tuple, tuple]:
    """(value, interval) of PPV and of NPV. For the interval alone, half an image is added to each count."""
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    se, sp = (tp + 0.5) / (tp + fn + 1), (tn + 0.5) / (tn + fp + 1)
    log_odds = scipy_special.logit(np.clip(prevalence, 1e-6, 1 - 1e-6))
    ppv_variance = (1 - se) / se / (tp + fn + 1) + sp / (1 - sp) / (tn + fp + 1)
    npv_variance = se / (1 - se) / (tp + fn + 1) + (1 - sp) / sp / (tn + fp + 1)
    return (
        _with_interval(true_positive, false_positive, np.log(se / (1 - sp)) + log_odds, ppv_variance),
        _with_interval(true_negative, false_negative, np.log(sp / (1 - se)) - log_odds, npv_variance),
    )


def _with_interval(
    right: float, wrong: float, centre: float, variance: float
) -> tuple[float, Interval | None]:
    """right / (right + wrong), and its interval from its log odds and their variance; it holds 0 and 1."""
    if right + wrong == 0:
        return float("nan"), None
    value = right / (right + wrong)
    low, high = scipy_special.expit(centre + np.array([-Z, Z]) * np.sqrt(variance)).tolist()
    return value, (0.0 if value == 0 else low, 1.0 if value == 1 else high)


def areas(score: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """AUROC with its DeLong interval, AUPRC with its bootstrap interval (either may be None), prevalence."""
    curves = OneVsRest.binary(truth, score)
    area, interval = curves.mean_auc()
    return {
        "auroc": area,
        "auroc_interval": interval,
        "auprc": float(curves.average_precision[0]),
        "auprc_interval": average_precision_interval(truth, score),
        "prevalence": float(truth.mean()),
    }
