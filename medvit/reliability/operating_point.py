"""Where to draw the line between two classes. Pure functions of the positive class's probability (N,)."""

from typing import Any

import numpy as np

from medvit.evaluation.metrics import auc_interval, wilson

PRESETS = ("90 % sensitivity", "Youden")


def choose(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The thresholds of `PRESETS` on a split, (2,).

    The highest that finds 90 % of the positives, and that of the largest sum of sensitivity and specificity
    (Youden, 1950).

    Args:
        truth: bool (N,), whether each image is positive.
    """
    from sklearn.metrics import roc_curve

    false, true, thresholds = roc_curve(truth, score, drop_intermediate=False)
    sensitive = thresholds[np.argmax(true >= 0.9)]
    return np.array([sensitive, thresholds[np.argmax(true - false)]]).clip(0, 1)


def at(
    score: np.ndarray, truth: np.ndarray, threshold: float, prevalence: float | None = None
) -> dict[str, Any]:
    """What a threshold means.

    Args:
        truth: bool (N,). prevalence: share of positives where it would be used; that of `truth` if None.

    Returns:
        sensitivity and specificity with Wilson intervals, ppv and npv at the prevalence with intervals on the
        logit scale (Mercaldo, Lau and Zhou, 2007), and the counts tp, fn, fp, tn.
    """
    said = score >= threshold
    tp, fn = int((said & truth).sum()), int((~said & truth).sum())
    fp, tn = int((said & ~truth).sum()), int((~said & ~truth).sum())
    prevalence = float(truth.mean()) if prevalence is None else prevalence
    ppv, npv = _predictive(tp, fn, fp, tn, prevalence)
    return {
        "sensitivity": tp / (tp + fn),
        "sensitivity_interval": wilson(tp, tp + fn),
        "specificity": tn / (tn + fp),
        "specificity_interval": wilson(tn, tn + fp),
        "ppv": ppv[0],
        "ppv_interval": ppv[1:],
        "npv": npv[0],
        "npv_interval": npv[1:],
        "prevalence": prevalence,
    } | {"tp": tp, "fn": fn, "fp": fp, "tn": tn}


def _predictive(tp: int, fn: int, fp: int, tn: int, prevalence: float) -> tuple[tuple, tuple]:
    """(value, low, high) of PPV and of NPV. Half an image is added to each count for the spread alone."""
    from scipy.special import expit, logit

    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    hits, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    rest, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    se, sp = (tp + 0.5) / (tp + fn + 1), (tn + 0.5) / (tn + fp + 1)
    odds = logit(np.clip(prevalence, 1e-6, 1 - 1e-6))
    results = []
    for value, centre, variance in (
        (
            hits / (hits + false) if hits + false else float("nan"),
            np.log(se / (1 - sp)) + odds,
            (1 - se) / se / (tp + fn + 1) + sp / (1 - sp) / (tn + fp + 1),
        ),
        (
            rest / (rest + missed) if rest + missed else float("nan"),
            np.log(sp / (1 - se)) - odds,
            se / (1 - se) / (tp + fn + 1) + (1 - sp) / sp / (tn + fp + 1),
        ),
    ):
        spread = 1.96 * np.sqrt(variance)
        results.append((float(value), float(expit(centre - spread)), float(expit(centre + spread))))
    return results[0], results[1]


def areas(score: np.ndarray, truth: np.ndarray, draws: int = 500) -> dict[str, Any]:
    """AUROC with its DeLong interval, and AUPRC with a bootstrap interval; chance is the prevalence."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(draws):
        rows = rng.integers(0, len(truth), len(truth))
        if truth[rows].any():
            drawn.append(average_precision_score(truth[rows], score[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "auroc": float(roc_auc_score(truth, score)),
        "auroc_interval": auc_interval(truth.astype(int), score[:, None], "binary-class"),
        "auprc": float(average_precision_score(truth, score)),
        "auprc_interval": (float(low), float(high)),
        "prevalence": float(truth.mean()),
    }
