"""Procedurally drawn stand-ins for MedMNIST images.

They show an app without data what an image of the subset roughly looks like, and give the tests something to
train on. They are drawings, not data: nothing about a model's accuracy follows from them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from medvit.data import medmnist, settings
from medvit.data.drawings import SIDE


def draw(subset: str, number: int) -> np.ndarray:
    """Draw phantom `number` of a subset: uint8 (28, 28, 3), always the same for the same arguments."""
    rng = np.random.default_rng([number, *subset.encode()])
    picture = settings.of(subset).draw(rng)
    noise = rng.normal(0, 0.02, picture.shape[:2])[..., None]
    return (np.clip(picture + noise, 0, 1) * 255).round().astype(np.uint8)


def write_archive(
    subset: str, root: str | Path, counts: dict[str, int] | None = None, size: int = 28
) -> Path:
    """Write an archive in the form of the official one; the brightness of its phantoms follows the class.

    Args:
        counts: images of each split; 48 / 16 / 16 by default. size: 28, or a multiple of it.
    """
    facts = medmnist.get(subset)
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (counts or {"train": 48, "val": 16, "test": 16}).items():
        labels = np.arange(count) % len(facts.classes)
        pictures = np.stack(
            [draw(subset, 1000 * medmnist.SPLITS.index(split) + i) for i in range(count)]
        ).astype(float)
        pictures = pictures.repeat(size // SIDE, 1).repeat(size // SIDE, 2)
        pictures *= (0.3 + 0.7 * labels / max(1, len(facts.classes) - 1))[:, None, None, None]
        arrays[f"{split}_images"] = (pictures[..., 0] if facts.channels == 1 else pictures).astype(np.uint8)
        one_hot = rng.integers(0, 2, (count, len(facts.classes)))
        arrays[f"{split}_labels"] = (one_hot if facts.multi_label else labels[:, None]).astype(np.uint8)
    path = medmnist.archive_path(subset, size, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path
