"""A summary of a dataset's images: class balance, examples, mean image and intensity histogram."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medvit.data.arrays import class_counts, evenly_spaced
from medvit.data.dataset import SPLITS, Dataset
from medvit.data.lookup import load_split
from medvit.pixels import as_rgb

MAX_SAMPLED = 2_000  # training images behind the mean and the histograms, evenly spaced over the split
MAX_EXAMPLES = 10  # of each class
MAX_EXAMPLE_SIDE = 64  # pixels; larger examples are reduced, as a strip has room for no more
BINS = 64


@dataclass(frozen=True)
class DatasetSummary:
    """The images of a dataset at a glance.

    `counts`: images of each class, (C,), by split; for a multi-label dataset, images that have the label.
    `examples`: for each class up to `MAX_EXAMPLES` training images, uint8 (k, s, s, 3), evenly spaced,
        reduced to at most `MAX_EXAMPLE_SIDE` pixels.
    `sampled`: how many of the `total` training images the other fields are computed from.
    `mean`: mean training image, uint8 (s, s, 3).
    `histogram`: fraction of pixels in `BINS` equal bins of 0..255, (channels, BINS); rows sum to one.
    """

    dataset: Dataset
    counts: dict[str, np.ndarray]
    examples: tuple[np.ndarray, ...]
    sampled: int
    total: int
    mean: np.ndarray
    histogram: np.ndarray


def summarize(dataset: Dataset, size: int | None = None, root: str | Path | None = None) -> DatasetSummary:
    """Read the images of a dataset and summarize them; takes seconds for the largest.

    Args:
        size: source size in pixels; None for the dataset's own, 28 for MedMNIST.

    Raises:
        MedvitError: the images are absent or damaged.
    """
    counts = {}
    for split in reversed(SPLITS):  # train last, as its images are needed
        images, labels = load_split(dataset, split, size, root)
        counts[split] = class_counts(labels, len(dataset.classes))
    members = (
        labels.astype(bool) if dataset.multi_label else labels[:, None] == np.arange(len(dataset.classes))
    )
    examples = tuple(_reduce(images[evenly_spaced(np.flatnonzero(rows), MAX_EXAMPLES)]) for rows in members.T)
    sample = evenly_spaced(images, MAX_SAMPLED)
    return DatasetSummary(
        dataset=dataset,
        counts={split: counts[split] for split in SPLITS},
        examples=examples,
        sampled=len(sample),
        total=len(images),
        mean=as_rgb(sample.mean(0).round().astype(np.uint8)),
        histogram=intensity_histogram(sample),
    )


def intensity_histogram(images: np.ndarray) -> np.ndarray:
    """Return the fraction of pixels in `BINS` bins, (channels, BINS), of uint8 (N, s, s) or (N, s, s, 3)."""
    channels = images.reshape(-1, 1) if images.ndim == 3 else images.reshape(-1, images.shape[-1])
    counts = np.stack([np.bincount(channel // (256 // BINS), minlength=BINS) for channel in channels.T])
    return counts / counts.sum(1, keepdims=True)


def side_by_side(images: np.ndarray) -> np.ndarray:
    """Join images, uint8 (k, s, s, 3), to one, (s, k * s + k - 1, 3), with a white line between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-1]


def _reduce(images: np.ndarray) -> np.ndarray:
    """Images, uint8 (k, s, s) or (k, s, s, 3), as RGB with sides of at most `MAX_EXAMPLE_SIDE` pixels."""
    images = as_rgb(images)
    if images.shape[1] <= MAX_EXAMPLE_SIDE or not len(images):
        return images
    size, method = (MAX_EXAMPLE_SIDE, MAX_EXAMPLE_SIDE), Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(image).resize(size, method)) for image in images])
