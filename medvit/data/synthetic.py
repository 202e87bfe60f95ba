"""Synthetic examples: drawings that stand in for MedMNIST images.

The app shows them where no data are on disk, and the tests train on them. The accuracy of a model cannot be
judged from them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvit.data import medmnist, settings
from medvit.data.dataset import SPLITS
from medvit.data.drawings import SIDE


def draw(subset: str, number: int) -> np.ndarray:
    """Draw synthetic example `number` of a subset: uint8 (28, 28, 3), the same for the same arguments."""
    rng = np.random.default_rng([number, *subset.encode()])
    image = settings.of(subset).draw(rng)
    noise = rng.normal(0, 0.02, image.shape[:2])[..., None]
    return (np.clip(image + noise, 0, 1) * 255).round().astype(np.uint8)


def write_archive(
    subset: str, root: str | Path, counts: dict[str, int] | None = None, size: int = 28
) -> Path:
    """Write synthetic examples as an archive in MedMNIST's format; their brightness follows their class.

    Args:
        counts: images of each split; 48 / 16 / 16 by default.
        size: 28, or a multiple of it.
    """
    dataset = medmnist.get(subset)
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (counts or {"train": 48, "val": 16, "test": 16}).items():
        labels = np.arange(count) % len(dataset.classes)
        first = 1000 * SPLITS.index(split)
        images = np.stack([draw(subset, first + i) for i in range(count)]).astype(float)
        images = images.repeat(size // SIDE, 1).repeat(size // SIDE, 2)
        images *= (0.3 + 0.7 * labels / max(1, len(dataset.classes) - 1))[:, None, None, None]
        arrays[f"{split}_images"] = (images[..., 0] if dataset.channels == 1 else images).astype(np.uint8)
        random_labels = rng.integers(0, 2, (count, len(dataset.classes)))
        labels = random_labels if dataset.multi_label else labels[:, None]
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    path = medmnist.archive_path(subset, size, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def write_pictures(folder: Path, each: int = 12, splits: tuple[str, ...] = ()) -> Path:
    """Write synthetic examples of three kinds as picture files of several sizes and formats; return `folder`.

    They are in a folder for each class: "blood cell", "fundus" and "tissue", below those of `splits` if any.

    Args:
        each: pictures of each class, in each split if there are splits.
    """
    rng = np.random.default_rng(0)
    classes = {"blood cell": "bloodmnist", "fundus": "retinamnist", "tissue": "pathmnist"}
    for number, parent in enumerate(splits or ("",)):
        for label, subset in classes.items():
            target = folder / parent / label
            target.mkdir(parents=True, exist_ok=True)
            for i in range(each):
                image = Image.fromarray(draw(subset, 100 * number + i))
                width, height = (int(length) for length in rng.integers(40, 90, 2))
                image = image.resize((width, height), Image.Resampling.BICUBIC)
                image.save(target / f"picture {i}.{('png', 'jpg', 'bmp', 'webp', 'tiff')[i % 5]}")
    return folder
