"""One way to datasets of both kinds: the subsets of MedMNIST, and one's own pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from medvit.data import cache, medmnist
from medvit.data.dataset import Dataset, from_json
from medvit.errors import MedvitError


def of_card(card: dict[str, Any]) -> Dataset:
    """Return the dataset that a card describes: under "dataset" for one's own pictures, else by "subset".

    Raises:
        MedvitError: there is no such subset, or the description is not usable.
    """
    if "dataset" not in card:
        return medmnist.get(card["subset"])
    dataset = from_json(card["dataset"])
    if dataset.name in medmnist.names() or dataset.name != card["subset"]:
        raise MedvitError("the dataset has no usable 'name'")
    return dataset


def title(name: str) -> str:
    """Return the title of a subset of MedMNIST, or the name itself where it is that of other pictures."""
    return medmnist.get(name).title if name in medmnist.names() else name


def load_split(
    dataset: Dataset, split: str, size: int | None = None, root: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one split of a dataset of either kind.

    Args:
        size: source size in pixels; None for the dataset's own, which is 28 for MedMNIST.
        root: folder of the MedMNIST archives.

    Returns:
        images: uint8, (N, size, size, 3), or (N, size, size) for a grey dataset; those of one's own pictures
            are a read-only memory map.
        labels: int64, (N,) class indices, or (N, classes) of 0 and 1 for a multi-label subset.

    Raises:
        MedvitError: the images are absent or damaged; the text says how to get them.
    """
    if not dataset.own:
        return medmnist.load_split(dataset.name, split, size or 28, root)
    if size not in (None, dataset.source_size):
        raise MedvitError(f"{dataset.title} was prepared at {dataset.source_size} pixels, not {size}.")
    return cache.load_split(dataset, split)


def is_on_disk(dataset: Dataset, size: int, root: str | Path | None = None) -> bool:
    """Whether the images of a dataset are on this machine."""
    if dataset.own:
        return cache.folder_of(dataset).is_dir()
    return size in medmnist.SIZES and medmnist.archive_path(dataset.name, size, root).is_file()


def how_to_get(dataset: Dataset, size: int = 28) -> str:
    """Return the command, or the option, that brings the images of a dataset to this machine."""
    if dataset.own:
        return f"--data with the folder of {dataset.title}"
    return medmnist.download_command(dataset.name, size)
