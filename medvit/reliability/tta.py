"""Test-time augmentation: flip and rotate an image, and combine the predictions.

A prediction whose probabilities have entropy H has the weight 1 - H / log(classes). A plain mean makes a
calibrated model underconfident.
"""

import numpy as np
import torch
from torch import Tensor

from medvit.data import settings
from medvit.evaluation.metrics import entropy, probabilities


def count(subset: str) -> int:
    """The number of augmentations of an image, the image itself included."""
    return 8 if settings.of(subset).rotatable else 2


def augment(pixels: Tensor, subset: str) -> Tensor:
    """All augmentations of images (B, 3, s, s): (V * B, 3, s, s), the unchanged images first."""
    rotations = [torch.rot90(pixels, k, (2, 3)) for k in range(count(subset) // 2)]
    return torch.cat([*rotations, *(rotated.flip(3) for rotated in rotations)])


def combine(logits: np.ndarray, multi_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Combine the predictions of all augmentations.

    Args:
        logits: (V, N, C), divided by the temperature.

    Returns:
        probabilities (N, C), and the agreement (N,): the fraction of augmentations whose predicted class is
        that of the combined probabilities.
    """
    probs = probabilities(logits, multi_label)  # (V, N, C)
    if multi_label:
        mean = probs.mean(0)
        return mean, ((probs > 0.5) == (mean > 0.5)).mean((0, 2))
    weight = 1 - entropy(probs) + 1e-6  # (V, N, 1); not zero where all are uniform
    combined = (weight * probs).sum(0) / weight.sum(0)
    return combined, (probs.argmax(2) == combined.argmax(1)).mean(0)
