"""Expected calibration error: how far confidence and accuracy lie apart.

torchmetrics and netcal bin by equal width, which leaves most bins of a good model empty; here all bins hold
equally many images.
"""

import numpy as np

from medvit.evaluation.metrics import cross_entropy

BINS = 15


def confidence(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of each prediction, and whether it is right, both (N,).

    A multi-label image gives one prediction a label, so (N * C,).
    """
    if labels.ndim == 2:
        return np.maximum(probs, 1 - probs).ravel(), ((probs > 0.5) == labels).ravel()
    return probs.max(1), probs.argmax(1) == labels


def calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over bins."""
    order = np.argsort(confidences, kind="stable")
    gap = (confidences - correct)[order]
    sums = [abs(part.sum()) for part in np.array_split(gap, min(bins, len(gap)))]
    return float(np.sum(sums) / len(gap))


def noise_floor(confidences: np.ndarray, bins: int = BINS) -> float:
    """The calibration error that a perfectly calibrated model shows by chance on as many images.

    Mean over draws in which each prediction is right with the probability that is its confidence.
    """
    rng = np.random.default_rng(0)
    simulated = (rng.random(len(confidences)) < confidences for _ in range(200))
    return float(np.mean([calibration_error(confidences, right, bins) for right in simulated]))


def calibration_metrics(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Calibration of probabilities (N, C) on a split.

    Returns:
        ece and ece_10 (in 15 and 10 bins), with ece_floor and ece_10_floor (see `noise_floor`);
        brier, the squared distance to the true class, summed over classes; nll, in nats.
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


def compare_with_floor(metrics: dict[str, float]) -> str:
    """A clause that says what the ECE of `calibration_metrics` means beside its floor."""
    if metrics["ece"] <= metrics["ece_floor"]:
        return "not distinguishable from a perfectly calibrated model on so few images"
    return f"a perfectly calibrated model would show {metrics['ece_floor']:.3f} on as many images"
