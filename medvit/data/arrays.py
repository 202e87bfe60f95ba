"""Pure functions on the images and labels of a split."""

import numpy as np

from medvit.slow_imports import sklearn_model_selection


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of images of each class, (C,), from labels (N,), or (N, C) of 0 and 1."""
    return labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def evenly_spaced(values: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the values (N, ...), from the first to the last, in their order."""
    return values[np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)]


def stratified_sample(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return the ascending indices of at most `count` images with the class frequencies of all of them.

    The sample is a plain random one for multi-label labels (N, C), and where a class has too few images.
    """
    indices = np.arange(len(labels))
    if count >= len(labels):
        return indices
    sizes = np.unique(labels, return_counts=True)[1]
    enough = labels.ndim == 1 and sizes.min() > 1 and len(sizes) <= min(count, len(labels) - count)
    stratify = labels if enough else None
    sample, _ = sklearn_model_selection.train_test_split(
        indices, train_size=count, random_state=seed, stratify=stratify
    )
    return np.sort(sample)


def halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint halves with the same class fractions."""
    first = stratified_sample(labels, len(labels) // 2, seed=1)
    return first, np.setdiff1d(np.arange(len(labels)), first)
