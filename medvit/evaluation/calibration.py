"""Whether a probability of 90 % is right nine times in ten. Pure functions of arrays.

A temperature divides the logits (Guo et al., 2017); it changes no answer, only how sure it sounds.

scipy finds the temperature. The rest is a few lines of numpy: torchmetrics and netcal bin by equal width,
where most bins of a good model are empty; here each bin holds as many images.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from medvit.evaluation import views
from medvit.evaluation.metrics import cross_entropy, probabilities

BINS = 15
FEW = 200


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, between 1/20 and 20, of least negative log-likelihood.

    From fewer than `FEW` images it is at least one: so few may make a model sound less sure, not more.

    Args:
        logits: (N, C), or (V, N, C) of several views of each image (see `medvit.evaluation.views`).
        labels: (N,), or (N, C) of 0 and 1 for a multi-label task.
    """

    def loss(log_temperature: float) -> float:
        return cross_entropy(labels, calibrated(logits, np.exp(log_temperature), labels.ndim == 2))

    lowest = 0.0 if len(labels) < FEW else -np.log(20)
    return float(np.exp(minimize_scalar(loss, bounds=(lowest, np.log(20)), method="bounded").x))


def calibrated(logits: np.ndarray, temperature: float, multi_label: bool = False) -> np.ndarray:
    """Logits (N, C), or (V, N, C) of several views of each image, to probabilities (N, C)."""
    scaled = logits / temperature
    return views.combine(scaled, multi_label)[0] if logits.ndim == 3 else probabilities(scaled, multi_label)


def confidence(shares: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is, and whether it is right, both (N,).

    A multi-label image gives one answer a label, so (N * C,).
    """
    if labels.ndim == 2:
        return np.maximum(shares, 1 - shares).ravel(), ((shares > 0.5) == labels).ravel()
    return shares.max(1), shares.argmax(1) == labels


def calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of confidence and accuracy, in bins of as many images."""
    order = np.argsort(confidences, kind="stable")
    gap = (confidences - correct)[order]
    sums = [abs(part.sum()) for part in np.array_split(gap, min(bins, len(gap)))]
    return float(np.sum(sums) / len(gap))


def noise_floor(confidences: np.ndarray, bins: int = BINS, draws: int = 200) -> float:
    """The calibration error that a perfectly calibrated model of these confidences shows on as many images.

    Each draw makes every answer right with the probability that it claims. The mean over the draws.
    """
    rng = np.random.default_rng(0)
    simulated = rng.random((draws, len(confidences))) < confidences
    return float(np.mean([calibration_error(confidences, right, bins) for right in simulated]))


def figures(shares: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Calibration of probabilities (N, C) on a split.

    Returns:
        ece, ece_10 (in 15 and 10 bins) and ece_floor, ece_10_floor (what perfection would show);
        brier, the squared distance to the truth summed over classes; nll, in nats.
    """
    confidences, correct = confidence(shares, labels)
    truth = labels if labels.ndim == 2 else np.eye(shares.shape[1])[labels]
    return {
        "ece": calibration_error(confidences, correct),
        "ece_floor": noise_floor(confidences),
        "ece_10": calibration_error(confidences, correct, 10),
        "ece_10_floor": noise_floor(confidences, 10),
        "brier": float(((shares - truth) ** 2).sum(1).mean()),
        "nll": cross_entropy(labels, shares),
    }


def verdict(found: dict[str, Any]) -> str:
    """What an ECE means beside its floor, in words."""
    if found["ece"] <= found["ece_floor"]:
        return "not distinguishable from perfect on so few images"
    return f"a perfect model would show {found['ece_floor']:.3f} on as many images"
