"""Means over readers, with intervals that hold for other readers and other images (multi-reader multi-case).

The variance is that of Obuchowski and Rockette (Communications in Statistics 24, 1995) with the degrees of
freedom of Hillis (Statistics in Medicine 26, 2007). Readers may have read different images. Where readers
differ by less than their errors alone would make them, the errors count: no variance is negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medvit.reader_study.results import CaseResult
from medvit.slow_imports import scipy_stats


@dataclass(frozen=True)
class PerReader:
    """An estimate for each reader, and how much each image moves it.

    `values`: (R,), NaN for a reader without an eligible case. `influence`: (R, I); the sum over images of the
    products of two readers' influences estimates the covariance of their values.
    """

    values: np.ndarray
    influence: np.ndarray

    @classmethod
    def rate(cls, hits: np.ndarray, eligible: np.ndarray) -> PerReader:
        """Fractions: how many of the eligible answers of each reader to each image are hits, both (R, I)."""
        n = eligible.sum(1, keepdims=True)
        values = np.where(n > 0, hits.sum(1, keepdims=True) / np.maximum(n, 1), np.nan)
        unbiased = np.sqrt(n / np.maximum(n - 1, 1))
        return cls(values[:, 0], unbiased * (hits - values * eligible) / np.maximum(n, 1))

    def __sub__(self, other: PerReader) -> PerReader:
        return PerReader(self.values - other.values, self.influence - other.influence)

    def mean(self, low: float, high: float) -> dict[str, Any]:
        """The mean over the readers who have a value, and its 95 % interval, cut off at `low` and `high`.

        Returns:
            `value`, None where no reader has one; `interval`, None where fewer than two have one, or where
            the answers do not vary at all; `readers`, how many have a value.
        """
        known = np.isfinite(self.values)
        values, influence = self.values[known], self.influence[known]
        readers = len(values)
        if readers < 2:
            return {"value": float(values[0]) if readers else None, "interval": None, "readers": readers}
        mean, products = float(values.mean()), influence @ influence.T
        covariance = max(0.0, float((products.sum() - np.trace(products)) / (readers * (readers - 1))))
        between = max(float(values.var(ddof=1)), float(np.trace(products)) / readers - covariance)
        variance = between / readers + covariance
        if variance <= 1e-15:
            return {"value": mean, "interval": None, "readers": readers}
        freedom = (readers - 1) * (1 + readers * covariance / between) ** 2 if between > 0 else math.inf
        spread = float(scipy_stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
        interval = max(low, mean - spread), min(high, mean + spread)
        return {"value": mean, "interval": interval, "readers": readers}


def mean_over_readers(rows: Sequence[CaseResult]) -> dict[str, Any]:
    """Means over readers of accuracy, its change, RAIR and RSR, on the cases with advice.

    Where no case has advice, accuracy and change are those of all cases.

    Returns:
        `readers` and `images` (how many); for `reader`, `reader_with_model`, `change`, `rair` and `rsr` what
        `PerReader.mean` returns; `beyond_control`, the change with advice minus the change of the same
        readers without, None where fewer than two readers have both.
    """
    advised = [row for row in rows if row.advised]
    counted = advised or list(rows)
    readers = {name: i for i, name in enumerate(sorted({row.reader for row in counted}))}
    images = {key: i for i, key in enumerate(sorted({(row.dataset, row.index) for row in rows}))}
    control = [row for row in rows if not row.advised and row.reader in readers] if advised else []
    rates = _rates(counted, readers, images)
    change = rates["reader_with_model"] - rates["reader"]
    result = {
        "readers": len(readers),
        "images": len({(row.dataset, row.index) for row in counted}),
        **{name: rate.mean(0, 1) for name, rate in rates.items()},
        "change": change.mean(-1, 1),
        "beyond_control": None,
    }
    if control:
        without = _rates(control, readers, images)
        beyond = change - (without["reader_with_model"] - without["reader"])
        if np.isfinite(beyond.values).sum() > 1:
            result["beyond_control"] = beyond.mean(-2, 2)
    return result


def _rates(
    rows: Sequence[CaseResult], readers: dict[str, int], images: dict[tuple[str, int], int]
) -> dict[str, PerReader]:
    """The rates of each reader; RAIR and RSR are on the cases with advice."""
    names = ("reader", "reader_with_model", "rair", "rsr")
    hits, eligible = np.zeros((2, len(names), len(readers), len(images)))
    for row in rows:
        first, final, advised = row.first_answer == row.truth, row.final_answer == row.truth, row.advised
        counts = (
            True,
            True,
            advised and not first and row.model_correct,
            advised and first and not row.model_correct,
        )
        place = readers[row.reader], images[row.dataset, row.index]
        eligible[:, *place] += counts
        hits[:, *place] += np.logical_and(counts, (first, final, final, final))
    return {name: PerReader.rate(hits[i], eligible[i]) for i, name in enumerate(names)}
