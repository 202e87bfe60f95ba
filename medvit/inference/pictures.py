"""One's own pictures behind checkpoints."""

from collections.abc import Iterable

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.data import Dataset
from medvit.data.folder import SOURCE_SIZE, open_dataset
from medvit.errors import MedvitError


def prepare(
    path: str, trained: Checkpoint | None, size: int | None = None, skip_unreadable: bool = False
) -> Dataset:
    """Prepare pictures, at the source size of the checkpoint that was trained or measured on them.

    Args:
        size: another source size in pixels.
        skip_unreadable: see `medvit.data.folder.open_dataset`.

    Raises:
        MedvitError: they are not usable, or are not those of the checkpoint.
    """
    if size is None:
        size = trained.card["source_size"] if trained else SOURCE_SIZE
    dataset = open_dataset(path, size, skip_unreadable=skip_unreadable)
    if trained and dataset.digest != trained.dataset.digest:
        raise MedvitError(
            f"{path} does not hold the pictures that {trained.folder} was tested on: pictures, labels or "
            "splits differ. `medvit evaluate --model` measures a model on other pictures."
        )
    return dataset


def of_one_dataset(checkpoints: Iterable[Checkpoint]) -> tuple[list[Checkpoint], dict[str, str]]:
    """Leave out checkpoints whose pictures have the name of others, and are not these or not of their size.

    Returns:
        the rest, and {folder: why it was left out}.
    """
    kept: list[Checkpoint] = []
    problems = {}
    first: dict[str, Checkpoint] = {}
    for item in checkpoints:
        other = first.setdefault(item.dataset.name, item)
        same_size = other.card["source_size"] == item.card["source_size"]
        same_test = np.array_equal(other.test_labels, item.test_labels)
        if same_size and same_test and other.dataset.digest == item.dataset.digest:
            kept.append(item)
        else:
            problems[str(item.folder)] = (
                f"{item.folder} was trained or tested on other pictures, or at another source size, than "
                f"{other.folder}, both called {item.dataset.name}. Open them apart, with --checkpoints."
            )
    return kept, problems
