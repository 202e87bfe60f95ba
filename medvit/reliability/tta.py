"""Test-time augmentation: mirrored and turned views of an image, their answers combined.

The views are weighted by how sure each is: a view whose probabilities have entropy H counts
1 - H / log(classes). Plain averaging makes a calibrated model too unsure.
"""

import numpy as np
import torch
from torch import Tensor

from medvit.data import settings
from medvit.evaluation.metrics import entropy, probabilities


def count(subset: str) -> int:
    """How many views an image of the subset has."""
    return 8 if settings.of(subset).rotatable else 2


def make(pixels: Tensor, subset: str) -> Tensor:
    """All views of images (B, 3, s, s): (V * B, 3, s, s), view by view, the images as they are first."""
    turns = [torch.rot90(pixels, k, (2, 3)) for k in range(4 if settings.of(subset).rotatable else 1)]
    return torch.cat([*turns, *(turned.flip(3) for turned in turns)])


def combine(logits: np.ndarray, multi_label: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The answers of all views as one.

    Args:
        logits: (V, N, C), divided by the temperature already.

    Returns:
        probabilities (N, C), and the share of views (N,) whose first answer is that of all together.
    """
    probs = np.stack([probabilities(view, multi_label) for view in logits])  # (V, N, C)
    if multi_label:
        return probs.mean(0), ((probs > 0.5) == (probs.mean(0) > 0.5)).mean((0, 2))
    weight = 1 - entropy(probs) + 1e-6  # (V, N, 1); all views may know nothing
    together = (weight * probs).sum(0) / weight.sum(0)
    return together, (probs.argmax(2) == together.argmax(1)).mean(0)
