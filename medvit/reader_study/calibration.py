"""Whether readers are as often right as they say: the points of a reliability diagram."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medvit.evaluation.metrics import wilson

LEVELS = 6  # up to so many distinct confidences are points of their own; more are grouped
WIDTH = 0.1  # of a group


def calibration_points(confidences: Sequence[float], correct: Sequence[bool]) -> list[dict[str, Any]]:
    """Fraction of right answers at each confidence (N,), from the least confident.

    Returns:
        for each: `confidence`, the mean; `value`, the fraction right; `count` right of `n`; its `interval`.
    """
    confidence, right = np.asarray(confidences, float), np.asarray(correct, bool)
    levels = confidence if len(np.unique(confidence)) <= LEVELS else _group(confidence)
    points = []
    for level in np.unique(levels):
        group = levels == level
        count, n = int(right[group].sum()), int(group.sum())
        points.append(
            {
                "confidence": float(confidence[group].mean()),
                "value": count / n,
                "count": count,
                "n": n,
                "interval": wilson(count, n),
            }
        )
    return points


def _group(confidence: np.ndarray) -> np.ndarray:
    """The lower limit of the group of each confidence; the last group includes 1."""
    return np.minimum(np.floor(confidence / WIDTH + 1e-9), 1 / WIDTH - 1) * WIDTH
