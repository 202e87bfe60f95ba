"""Metrics of each class against the rest, with 95 % intervals: pure functions of labels and scores.

The one implementation of precision, recall, F1, AUC and average precision, of all classes at once.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from medvit.slow_imports import scipy_special, scipy_stats, sklearn_metrics

Interval = tuple[float, float]
Z = 1.959964  # a standard normal variable lies within -Z..Z in 95 % of cases
BOOTSTRAP_DRAWS = 2000


def wilson_intervals(successes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """95 % Wilson score intervals (..., 2) of proportions (...,); NaN where a total is zero."""
    n = np.where(totals > 0, totals, np.nan)
    p = successes / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    spread = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return np.stack(
        [np.where(successes == 0, 0 * p, centre - spread), np.where(successes == totals, p, centre + spread)],
        -1,
    )


@dataclass(frozen=True)
class OneVsRest:
    """Metrics of each class (C,) and their 95 % intervals (C, 2), each computed when it is first read.

    Precision, recall and F1 are 0 where nothing is predicted or true. The AUC and the average precision of a
    class that has no images, or all of them, are NaN, and so is every interval that cannot be estimated.

    `truth`, `predicted`: bool (N, C). `scores`: (N, C).
    """

    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, probs: np.ndarray) -> "OneVsRest":
        """From labels and probabilities (N, C): the most probable class, or each label above one half."""
        if labels.ndim == 2:
            return cls(labels.astype(bool), probs > 0.5, probs)
        one_hot = np.eye(probs.shape[1], dtype=bool)
        return cls(one_hot[labels], one_hot[probs.argmax(1)], probs)

    @classmethod
    def binary(cls, truth: np.ndarray, score: np.ndarray, threshold: float = 0.5) -> "OneVsRest":
        """From one class alone: bool (N,), its score (N,), and the score from which it is predicted."""
        return cls(truth[:, None], score[:, None] >= threshold, score[:, None])

    @cached_property
    def support(self) -> np.ndarray:
        """Images of each class."""
        return self.truth.sum(0)

    @cached_property
    def counts(self) -> np.ndarray:
        """True positives, false positives, false negatives, true negatives: (4, C)."""
        tp, predicted = (self.truth & self.predicted).sum(0), self.predicted.sum(0)
        return np.stack(
            [tp, predicted - tp, self.support - tp, len(self.truth) - predicted - self.support + tp]
        )

    @cached_property
    def precision(self) -> np.ndarray:
        tp, fp, _, _ = self.counts
        return tp / (tp + fp).clip(1)

    @cached_property
    def precision_interval(self) -> np.ndarray:
        """Wilson's."""
        tp, fp, _, _ = self.counts
        return wilson_intervals(tp, tp + fp)

    @cached_property
    def recall(self) -> np.ndarray:
        return self.counts[0] / self.support.clip(1)

    @cached_property
    def recall_interval(self) -> np.ndarray:
        """Wilson's."""
        return wilson_intervals(self.counts[0], self.support)

    @cached_property
    def specificity(self) -> np.ndarray:
        _, fp, _, tn = self.counts
        return tn / (tn + fp).clip(1)

    @cached_property
    def balanced_accuracy(self) -> np.ndarray:
        """Mean of recall and specificity, or the one of them that has images."""
        mean = (self.recall + self.specificity) / 2
        return np.where(self.has_curve, mean, np.maximum(self.recall, self.specificity))

    @cached_property
    def f1(self) -> np.ndarray:
        return _f1(self.counts)

    @cached_property
    def f1_interval(self) -> np.ndarray:
        """Percentiles of 2,000 bootstrap draws of the images, always the same ones.

        NaN where all draws are equal, as at an F1 of 0 or 1, which says nothing about other images.
        """
        fractions = self.counts.T / len(self.truth)  # (C, 4)
        rng = np.random.default_rng(0)
        draws = rng.multinomial(len(self.truth), fractions, (BOOTSTRAP_DRAWS, len(fractions)))
        low_high = np.percentile(_f1(np.moveaxis(draws, -1, 0)), [2.5, 97.5], axis=0).T
        varies = (self.support > 0) & (low_high[:, 0] < low_high[:, 1])
        return np.where(varies[:, None], low_high, np.nan)

    @cached_property
    def has_curve(self) -> np.ndarray:
        """Which classes have a ROC curve, bool (C,): those with some of the images, but not all."""
        return (self.support > 0) & (self.support < len(self.truth))

    @cached_property
    def _placements(self) -> np.ndarray:
        """(N, C): the fraction of the other side's images that each image ranks on the right side of."""
        positives = self.support.clip(1)
        negatives = (len(self.truth) - self.support).clip(1)
        among_own = np.where(  # the rank among the positives, and that among the negatives
            self.truth,
            scipy_stats.rankdata(np.where(self.truth, self.scores, np.inf), axis=0),
            scipy_stats.rankdata(np.where(self.truth, np.inf, self.scores), axis=0),
        )
        below = scipy_stats.rankdata(self.scores, axis=0) - among_own  # of the other side; ties count half
        return np.where(self.truth, below / negatives, 1 - below / positives)

    @cached_property
    def auc(self) -> np.ndarray:
        """Area under the ROC curve, as Mann and Whitney's statistic."""
        areas = (self._placements * self.truth).sum(0) / self.support.clip(1)
        return np.where(self.has_curve, areas, np.nan)

    @cached_property
    def _auc_deviations(self) -> np.ndarray:
        """(N, C): what each image adds to the error of the AUC; the variance is the sum of the squares."""
        result = np.zeros(self.truth.shape)
        for side in (self.truth, ~self.truth):
            count = side.sum(0).clip(1)
            mean = (self._placements * side).sum(0) / count
            result += side * (self._placements - mean) / np.sqrt(count * (count - 1).clip(1))
        return result

    @cached_property
    def _has_variance(self) -> np.ndarray:
        """Which classes have at least two images on either side of their curve, bool (C,)."""
        return (self.support >= 2) & (self.support <= len(self.truth) - 2)

    @cached_property
    def auc_interval(self) -> np.ndarray:
        """By the method of DeLong et al. (1988), on the logit scale.

        NaN where the variance cannot be estimated: for a class that has one image, or all but one, and for a
        perfect ranking.
        """
        intervals = _logit_interval(self.auc, np.sqrt((self._auc_deviations**2).sum(0)))
        return np.where(self._has_variance[:, None], intervals, np.nan)

    def mean_auc(self) -> tuple[float, Interval | None]:
        """The mean AUC over the classes that have a curve, NaN where none has one, and its DeLong interval.

        The deviations are averaged image by image, so that their correlation between classes counts. The
        interval is None where the variance of one of the classes, or of the mean, cannot be estimated.
        """
        if not self.has_curve.any():
            return np.nan, None
        mean = self.auc[self.has_curve].mean()
        deviations = self._auc_deviations[:, self.has_curve].mean(1)
        low, high = _logit_interval(mean, np.sqrt((deviations**2).sum())).tolist()
        known = self._has_variance[self.has_curve].all() and np.isfinite(low)
        return float(mean), (low, high) if known else None

    @cached_property
    def average_precision(self) -> np.ndarray:
        """Mean over the positives of the precision at their score."""
        rank_all = scipy_stats.rankdata(-self.scores, "max", axis=0)
        rank_own = scipy_stats.rankdata(np.where(self.truth, -self.scores, np.inf), "max", axis=0)
        total = (self.truth * rank_own / rank_all).sum(0)
        return np.where(self.has_curve, total / self.support.clip(1), np.nan)


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 (...,) of TP, FP, FN, TN (4, ...)."""
    tp, fp, fn, _ = counts
    return 2 * tp / (2 * tp + fp + fn).clip(1)


def _logit_interval(area: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The 95 % interval (..., 2) of an area (...,) and its standard deviation, symmetric in log odds.

    NaN where the deviation is zero, which says that it cannot be estimated.
    """
    deviation = np.where(deviation > 0, deviation, np.nan)
    inside = np.clip(area, 1e-6, 1 - 1e-6)
    spread = Z * deviation / (inside * (1 - inside))
    centre = scipy_special.logit(inside)
    return scipy_special.expit(np.stack([centre - spread, centre + spread], -1))


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class against the rest; an interval is None where it cannot be estimated."""

    name: str
    support: int
    precision: float
    precision_interval: Interval | None
    recall: float
    recall_interval: Interval | None
    f1: float
    f1_interval: Interval | None
    auc: float
    auc_interval: Interval | None
    average_precision: float


def per_class(labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...]) -> list[ClassMetrics]:
    """The metrics of `OneVsRest`, one row a class, as plain numbers."""
    each = OneVsRest.of(labels, probs)

    def value(field: str, i: int) -> Any:
        number = getattr(each, field)[i].tolist()
        if field.endswith("interval"):
            return None if np.isnan(number).any() else tuple(number)
        return number

    names = [field.name for field in fields(ClassMetrics)[1:]]
    return [ClassMetrics(name, *(value(field, i) for field in names)) for i, name in enumerate(classes)]


def average_precision_interval(truth: np.ndarray, score: np.ndarray) -> Interval | None:
    """The 95 % bootstrap interval of the average precision of one class: bool (N,) and its score (N,).

    None where all samples agree, as those of a perfect separation do: it cannot be estimated.
    """
    rng, drawn = np.random.default_rng(0), []
    for _ in range(500):
        rows = rng.integers(0, len(truth), len(truth))
        drawn.append(OneVsRest.binary(truth[rows], score[rows]).average_precision[0])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return (float(low), float(high)) if low < high else None


class Curve(NamedTuple):
    """A curve and the area under it: false positive rate and recall, or recall and precision."""

    x: np.ndarray
    y: np.ndarray
    area: float


def roc_curves(labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...]) -> dict[str, Curve]:
    """The ROC curve of each class that has one, with its AUC."""
    each = OneVsRest.of(labels, probs)
    curves = {}
    for i in np.flatnonzero(each.has_curve):
        fpr, tpr, _ = sklearn_metrics.roc_curve(each.truth[:, i], probs[:, i])
        curves[classes[i]] = Curve(fpr, tpr, each.auc[i])
    return curves


def precision_recall_curves(
    labels: np.ndarray, probs: np.ndarray, classes: tuple[str, ...]
) -> dict[str, Curve]:
    """The precision-recall curve of each class that has one, by rising recall, with its average precision."""
    each = OneVsRest.of(labels, probs)
    curves = {}
    for i in np.flatnonzero(each.has_curve):
        precision, recall, _ = sklearn_metrics.precision_recall_curve(
            each.truth[:, i], probs[:, i], drop_intermediate=True
        )
        curves[classes[i]] = Curve(recall[::-1], precision[::-1], each.average_precision[i])
    return curves
