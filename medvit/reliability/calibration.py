"""Temperature scaling: divide the logits so that confidence matches accuracy. Pure functions of arrays.

A temperature (Guo et al., 2017) keeps the argmax and changes confidence only. Here it depends on the entropy
of the prediction, because training with smoothed labels makes certain predictions the most underconfident
(entropy-based temperature scaling: Balanya et al., arXiv 2208.00461). With H the entropy divided by
log(classes),

    temperature = softplus(offset + slope * log H),    slope >= 0.
"""

import numpy as np

from medvit.data import halves
from medvit.evaluation.calibration_error import confidence
from medvit.evaluation.metrics import cross_entropy, entropy, probabilities
from medvit.reliability import tta
from medvit.slow_imports import scipy_optimize

MIN_IMAGES = 200
MIN_ERRORS = 10  # wrong predictions a fitted number: ten events a variable (Peduzzi et al., 1996)
UNIT_OFFSET = np.log(np.e - 1)  # the offset of a temperature of one
MIN_ENTROPY = 0.02  # lower entropies count as this, which bounds the temperature from below


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find the offset and slope (2,) of least negative log-likelihood.

    With fewer than `MIN_IMAGES` images or `MIN_ERRORS` wrong predictions, the temperature is a constant of at
    least one, because so few may make a model less confident but not more. It is a constant below twice as
    many wrong predictions, and for a multi-label task, whose labels have no common entropy.

    Args:
        logits: (N, C), or (V, N, C) of the V test-time augmentations of each image.
        labels: (N,), or (N, C) of 0 and 1 for a multi-label task.
    """
    multi_label = labels.ndim == 2

    def loss(fitted: np.ndarray) -> float:
        return cross_entropy(labels, calibrated(logits, fitted, multi_label))

    errors = np.sum(~confidence(calibrated(logits, np.array([UNIT_OFFSET, 0.0]), multi_label), labels)[1])
    few = len(labels) < MIN_IMAGES or errors < MIN_ERRORS
    constant = few or multi_label or errors < 2 * MIN_ERRORS
    bounds = [(UNIT_OFFSET if few else -3.0, 20.0), (0.0, 0.0 if constant else 3.0)]
    return scipy_optimize.minimize(loss, (UNIT_OFFSET, 0.0), bounds=bounds, method="L-BFGS-B").x


def temperature(logits: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """The temperature (..., 1) of logits (..., C), from offset and slope (2,)."""
    offset, slope = fitted
    return np.logaddexp(0, offset + slope * np.log(entropy(probabilities(logits)).clip(MIN_ENTROPY, 1)))


def calibrated(logits: np.ndarray, fitted: np.ndarray, multi_label: bool = False) -> np.ndarray:
    """Logits (N, C), or (V, N, C) of V test-time augmentations, to calibrated probabilities (N, C)."""
    scaled = logits / temperature(logits, fitted)
    return tta.combine(scaled, multi_label)[0] if scaled.ndim == 3 else probabilities(scaled, multi_label)


def calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the log-loss after temperature scaling; each half of the images is scaled as fits the other.

    A single image is not scaled.

    Smoothed targets, such as those of MixUp, raise the log-loss before it, and this one less.

    Args:
        logits: (N, C).
        labels: (N,), or (N, C) of 0 and 1 for a multi-label task.
    """
    if len(labels) < 2:
        return cross_entropy(labels, probabilities(logits, labels.ndim == 2))
    first, second = halves(labels)
    probs = np.empty(logits.shape)
    for half, other in ((first, second), (second, first)):
        fitted = fit_temperature(logits[other], labels[other])
        probs[half] = calibrated(logits[half], fitted, labels.ndim == 2)
    return cross_entropy(labels, probs)
