"""What the data of a subset look like: class balance, examples, mean image, intensities."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvit.data import medmnist

SAMPLE = 2_000  # training images behind the mean and the histograms, evenly spaced over the split
PER_CLASS = 10  # examples of each class
BINS = 64


@dataclass(frozen=True)
class Overview:
    """A subset at a glance.

    `counts`: images of each class, (C,), by split; of a multi-label subset, images that have the label.
    `examples`: for each class up to `PER_CLASS` training images, uint8 (k, s, s, 3), evenly spaced.
    `sampled`: how many of the `total` training images the rest is computed from. `mean`: uint8 (s, s, 3).
    `histogram`: share of pixels in `BINS` equal bins of 0..255, (channels, BINS); rows sum to one.
    """

    subset: medmnist.Dataset
    counts: dict[str, np.ndarray]
    examples: tuple[np.ndarray, ...]
    sampled: int
    total: int
    mean: np.ndarray
    histogram: np.ndarray


def overview(name: str, size: int = 28, root: str | Path | None = None) -> Overview:
    """Read the archive of a subset and sum it up; seconds for the largest.

    Raises:
        MedvitError: the archive is absent or damaged.
    """
    subset = medmnist.get(name)
    counts = {}
    for split in reversed(medmnist.SPLITS):  # train last, as its images are needed
        images, labels = medmnist.load_split(name, split, size, root)
        counts[split] = class_counts(labels, len(subset.classes))
    has = labels.astype(bool) if subset.multi_label else labels[:, None] == np.arange(len(subset.classes))
    examples = tuple(colour(images[_spread(np.flatnonzero(members), PER_CLASS)]) for members in has.T)
    sample = images[_spread(np.arange(len(images)), SAMPLE)]
    return Overview(
        subset,
        {split: counts[split] for split in medmnist.SPLITS},
        examples,
        len(sample),
        len(images),
        colour(sample.mean(0, keepdims=True).round().astype(np.uint8))[0],
        histogram(sample),
    )


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Images of each class, (C,), from labels (N,), or (N, C) of 0 and 1."""
    return labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def histogram(images: np.ndarray) -> np.ndarray:
    """Share of pixels in `BINS` equal bins, (channels, BINS), of uint8 (N, s, s) or (N, s, s, 3)."""
    channels = images.reshape(-1, 1) if images.ndim == 3 else images.reshape(-1, images.shape[-1])
    probs = np.stack([np.bincount(channel // (256 // BINS), minlength=BINS) for channel in channels.T])
    return probs / probs.sum(1, keepdims=True)


def colour(images: np.ndarray) -> np.ndarray:
    """Images (N, s, s) or (N, s, s, 3) as (N, s, s, 3); grey is repeated."""
    return np.repeat(images[..., None], 3, axis=-1) if images.ndim == 3 else images


def strip(images: np.ndarray, gap: int = 1) -> np.ndarray:
    """Images, uint8 (k, s, s, 3), side by side as one, (s, k * s + (k - 1) * gap, 3), white between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, : -gap or None]


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of `indices`, evenly spaced."""
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]
