"""Sets of answers that hold the truth as often as promised. Pure functions of probabilities and labels.

Split conformal prediction: on images that nothing else was fitted on, note how badly the true class scored;
an answer belongs to the set if it scores no worse than all but the worst few of them. The promise holds for
images like those, on average over such samples.

LAC: Sadinle et al., 2019. APS: Romano et al., 2020. RAPS: Angelopoulos et al., 2021. MAPIE and torchcp offer
them around estimators and data loaders; on arrays they are the few lines below.
"""

import math
from typing import Any

import numpy as np

from medvit.evaluation.metrics import wilson

METHODS = ("lac", "aps", "raps")
LEVELS = (0.90, 0.95, 0.99)
FEW = 200
PENALTY = 0.05  # RAPS: added for each class beyond the first


def scores(probs: np.ndarray, method: str) -> np.ndarray:
    """How badly each class fits, (N, C), from probabilities (N, C)."""
    if method == "lac":
        return 1 - probs
    order = np.argsort(-probs, axis=1, kind="stable")
    ordered = np.take_along_axis(probs, order, 1).cumsum(1)
    if method == "raps":
        ordered = ordered + PENALTY * np.arange(probs.shape[1])
    result = np.empty_like(ordered)
    np.put_along_axis(result, order, ordered, 1)
    return result


def quantile(true_scores: np.ndarray, level: float) -> float:
    """The worst score that still belongs to a set; infinite where there are too few images for the level."""
    rank = math.ceil((len(true_scores) + 1) * level - 1e-9)
    return float(np.sort(true_scores)[rank - 1]) if rank <= len(true_scores) else math.inf


def sets(probs: np.ndarray, method: str, limit: float) -> np.ndarray:
    """Membership (N, C) in each image's set. The first answer always belongs to it, so no set is empty."""
    first = np.arange(probs.shape[1]) == probs.argmax(1)[:, None]
    return (scores(probs, method) <= limit) | first


def choose_method(probs: np.ndarray, labels: np.ndarray, level: float) -> str:
    """The method of the smallest sets among those that cover no less than LAC's.

    Fitted on every other image and measured on the rest, and vice versa. On few images the comparison would
    be noise, and LAC it is.
    """
    if len(labels) < FEW:
        return "lac"
    even = np.arange(len(labels)) % 2 == 0
    size, covered = {}, {}
    for method in METHODS:
        true = scores(probs, method)[np.arange(len(labels)), labels]
        size[method] = covered[method] = 0
        for half in (even, ~even):
            members = sets(probs[~half], method, quantile(true[half], level))
            size[method] += int(members.sum())
            covered[method] += int(members[np.arange(len(members)), labels[~half]].sum())
    allowed = [method for method in METHODS if covered[method] >= covered["lac"]]
    return min(allowed, key=lambda method: size[method])


def needed(level: float) -> int:
    """How many images it takes to promise a level at all."""
    return math.ceil(level / (1 - level) - 1e-9)


def expected_range(level: float, count: int) -> tuple[float, float]:
    """Where the coverage of sets fitted on `count` images lies in 95 of 100 cases."""
    from scipy.stats import beta

    rank = math.ceil((count + 1) * level - 1e-9)
    if rank > count:
        return 1.0, 1.0
    low, high = beta.ppf([0.025, 0.975], rank, count + 1 - rank)
    return float(low), float(high)


def figures(members: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Coverage with its 95 % Wilson interval, mean size, and coverage by size of set, of sets (N, C)."""
    held, size = members[np.arange(len(labels)), labels], members.sum(1)
    by_size = {
        int(s): {
            "images": int((size == s).sum()),
            "coverage": float(held[size == s].mean()),
            "coverage_interval": wilson(held[size == s].sum(), (size == s).sum()),
        }
        for s in np.unique(size)
    }
    return {
        "coverage": float(held.mean()),
        "coverage_interval": wilson(held.sum(), len(held)),
        "mean_size": float(size.mean()),
        "by_size": by_size,
    }
