"""Prediction sets that hold the true class with a given probability (split conformal prediction).

The nonconformity score of a class is 1 - its probability (LAC: Sadinle et al., 2019). A class belongs to the
set if its score is at most a quantile of the scores that the true classes had on held-out images. The
coverage holds for images like those, on average over such samples.
"""

import math
from typing import Any

import numpy as np

from medvit.evaluation.metrics import wilson
from medvit.slow_imports import scipy_stats

LEVELS = (0.90, 0.95, 0.99)


def nonconformity_scores(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Scores (N,) of the true classes (N,) under probabilities (N, C)."""
    return 1 - probs[np.arange(len(labels)), labels]


def quantile(scores: np.ndarray, level: float) -> float:
    """The largest score that belongs to a set at a level; infinite where there are too few scores for it."""
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def prediction_sets(probs: np.ndarray, limit: float) -> np.ndarray:
    """Membership, bool (N, C), in each image's set; the most probable class always belongs to it.

    Args:
        probs: (N, C). limit: as `quantile` returns it.
    """
    top = np.arange(probs.shape[1]) == probs.argmax(1)[:, None]
    return (1 - probs <= limit) | top


def images_needed(level: float) -> int:
    """How many held-out images a level takes."""
    return math.ceil(level / (1 - level) - 1e-9)


def expected_coverage(level: float, fitted: int, tested: int) -> tuple[float, float]:
    """The range that holds the coverage of sets in at least 95 of 100 cases.

    The number of covered images follows a beta-binomial distribution (Angelopoulos and Bates, 2023).

    Args:
        fitted: images that the sets were fitted on. tested: images whose coverage is measured.
    """
    rank = math.ceil((fitted + 1) * level - 1e-9)
    if rank > fitted:
        return 1.0, 1.0
    low, high = scipy_stats.betabinom.ppf([0.025, 0.975], tested, rank, fitted + 1 - rank) / tested
    return float(low), float(high)


def coverage_metrics(members: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Coverage with its Wilson interval, mean size, and coverage by size, of sets (N, C) and labels (N,)."""
    covered, sizes = members[np.arange(len(labels)), labels], members.sum(1)
    by_size = {}
    for size in np.unique(sizes):
        chosen = covered[sizes == size]
        by_size[int(size)] = {
            "images": len(chosen),
            "coverage": float(chosen.mean()),
            "coverage_interval": wilson(chosen.sum(), len(chosen)),
        }
    return {
        "coverage": float(covered.mean()),
        "coverage_interval": wilson(covered.sum(), len(covered)),
        "mean_size": float(sizes.mean()),
        "by_size": by_size,
    }
