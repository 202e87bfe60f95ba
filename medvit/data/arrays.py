"""Pure functions on the images and labels of a split."""

import numpy as np

from medvit.slow_imports import sklearn_model_selection

LUMINANCE = np.array([19595, 38470, 7471], np.uint32)  # ITU-R BT.601 in 65536ths, as Pillow's mode "L"


def as_rgb(images: np.ndarray, grey: bool = False) -> np.ndarray:
    """Return images as RGB, uint8 (..., s, s, 3); a grey image gets three equal channels.

    Args:
        images: uint8; one image or several, grey (..., s, s) or RGB (..., s, s, 3).
        grey: reduce RGB to its luminance, as a model that was trained on grey images expects.
    """
    if images.ndim < 3 or images.shape[-1] != 3:
        return np.repeat(images[..., None], 3, axis=-1)
    if not grey:
        return images
    luminance = (images @ LUMINANCE + 0x8000) >> 16
    return np.repeat(luminance[..., None].astype(np.uint8), 3, axis=-1)


def class_counts(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of images of each class, (C,), from labels (N,), or (N, C) of 0 and 1."""
    return labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


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
