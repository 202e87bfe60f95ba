"""Whether a probability of 90 % is right nine times in ten. Pure functions of arrays.

A temperature divides the logits (Guo et al., 2017); it changes no answer, only how sure it sounds. Ours
depends on how sure the model already is, as training with smoothed labels makes the sure answers sound most
unsure (entropy-based temperature scaling: Balanya et al., arXiv 2208.00461). With H the entropy of an answer
as a share of log(classes),

    temperature = softplus(offset + slope * log H),    slope >= 0.

scipy finds the two. The rest is a few lines of numpy: torchmetrics and netcal bin by equal width,
where most bins of a good model are empty; here each bin holds as many images.
"""

from typing import Any

import numpy as np

from medvit.evaluation.metrics import cross_entropy, entropy, probabilities
from medvit.reliability import tta

BINS = 15
FEW = 200  # images
WRONG = 10  # wrong answers that each fitted number needs: ten events a variable (Peduzzi et al., 1996)
ONE = np.log(np.e - 1)  # the offset of a temperature of one
LEAST_ENTROPY = 0.02  # no model sounds surer than this; it bounds the temperature below


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Offset and slope (2,) of least negative log-likelihood.

    From fewer than `FEW` images, or `WRONG` wrong answers, the temperature is a constant of at least one: so
    few may make a model sound less sure, not more. It is a constant below twice as many wrong answers, and
    for a multi-label task, whose labels have no entropy in common.

    Args:
        logits: (N, C), or (V, N, C) of several views of each image (see `medvit.evaluation.views`).
        labels: (N,), or (N, C) of 0 and 1 for a multi-label task.
    """
    from scipy.optimize import minimize

    multi_label = labels.ndim == 2

    def loss(fitted: np.ndarray) -> float:
        return cross_entropy(labels, calibrated(logits, fitted, multi_label))

    wrong = np.sum(~confidence(calibrated(logits, np.array([ONE, 0.0]), multi_label), labels)[1])
    few = len(labels) < FEW or wrong < WRONG
    bounds = [(ONE if few else -3.0, 20.0), (0.0, 0.0 if few or multi_label or wrong < 2 * WRONG else 3.0)]
    return minimize(loss, (ONE, 0.0), bounds=bounds, method="L-BFGS-B").x


def temperature(logits: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """The temperature (..., 1) of logits (..., C), from offset and slope (2,)."""
    offset, slope = fitted
    unsure = entropy(probabilities(logits)).clip(LEAST_ENTROPY, 1)
    return np.logaddexp(0, offset + slope * np.log(unsure))


def calibrated(logits: np.ndarray, fitted: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Logits (N, C), or (V, N, C) of several views of each image, to probabilities (N, C)."""
    logits = logits / temperature(logits, fitted)
    return tta.combine(logits, multi_label)[0] if logits.ndim == 3 else probabilities(logits, multi_label)


def confidence(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is, and whether it is right, both (N,).

    A multi-label image gives one answer a label, so (N * C,).
    """
    if labels.ndim == 2:
        return np.maximum(probs, 1 - probs).ravel(), ((probs > 0.5) == labels).ravel()
    return probs.max(1), probs.argmax(1) == labels


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


def figures(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Calibration of probabilities (N, C) on a split.

    Returns:
        ece, ece_10 (in 15 and 10 bins) and ece_floor, ece_10_floor (what perfection would show);
        brier, the squared distance to the truth summed over classes; nll, in nats.
    """
    confidences, correct = confidence(probs, labels)
    truth = labels if labels.ndim == 2 else np.eye(probs.shape[1])[labels]
    return {
        "ece": calibration_error(confidences, correct),
        "ece_floor": noise_floor(confidences),
        "ece_10": calibration_error(confidences, correct, 10),
        "ece_10_floor": noise_floor(confidences, 10),
        "brier": float(((probs - truth) ** 2).sum(1).mean()),
        "nll": cross_entropy(labels, probs),
    }


def verdict(found: dict[str, Any]) -> str:
    """What an ECE means beside its floor, in words."""
    if found["ece"] <= found["ece_floor"]:
        return "not distinguishable from perfect on so few images"
    return f"a perfect model would show {found['ece_floor']:.3f} on as many images"
