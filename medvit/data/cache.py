"""Prepared pictures on disk: decoded once to source size, one uint8 memory map for each split.

    <cache>/datasets/<name>-<digest>/
        dataset.json                         facts, see `medvit.data.dataset.to_json`
        <split>_images.npy                   uint8 (N, s, s, 3), or (N, s, s) where all pictures are grey
        <split>_labels.npy                   uint16 (N,)
        <split>_sha256.npy                   uint8 (N, 32), of the pixels of each picture
        pictures.csv                         split, index, file_name, label and group of each picture

<cache> is $MEDVIT_CACHE, else ~/.cache/medvit. The digest is that of classes, labels and pixels: the same
pictures give the same digest on every machine. `medvit.data.prepare` writes these folders.
"""

import csv
from pathlib import Path

import numpy as np

from medvit.data.dataset import SPLITS, Dataset
from medvit.errors import MedvitError
from medvit.files import cache_folder


def cache_root() -> Path:
    """Return the folder of all prepared datasets."""
    return cache_folder() / "datasets"


def folder_of(dataset: Dataset) -> Path:
    """Return where the prepared pictures of a dataset belong, whether they are there or not."""
    return cache_root() / f"{dataset.name}-{dataset.digest[:12]}"


def load_split(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Open one split of prepared pictures; see `medvit.data.load_split`."""
    if split not in SPLITS:
        raise MedvitError(f"There is no split {split!r}. The splits are: {', '.join(SPLITS)}.")
    folder = folder_of(dataset)
    if not folder.is_dir():
        raise MedvitError(
            f"The pictures of {dataset.title} are not prepared on this machine. `medvit evaluate CHECKPOINT "
            "--data FOLDER` prepares them."
        )
    try:
        images = np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False).astype(np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder) from error
    side = dataset.source_size
    shape = (dataset.samples[split], side, side) + ((3,) if dataset.channels == 3 else ())
    if images.dtype != np.uint8 or images.shape != shape or labels.shape != shape[:1]:
        raise _damaged(folder)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
        raise _damaged(folder)
    return images, labels


def load_hashes(dataset: Dataset, split: str) -> np.ndarray:
    """Return the sha256 of the pixels of each picture of a split, uint8 (N, 32)."""
    try:
        return np.load(folder_of(dataset) / f"{split}_sha256.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder_of(dataset)) from error


def load_names(dataset: Dataset) -> dict[str, list[str]]:
    """Return the file names of the pictures of each split, in the order of its arrays."""
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    with (folder_of(dataset) / "pictures.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            names[row["split"]].append(row["file_name"])
    return names


def _damaged(folder: Path) -> MedvitError:
    return MedvitError(
        f"The prepared pictures in {folder} are damaged. Delete that folder and name the folder of the "
        "pictures with --data again."
    )
