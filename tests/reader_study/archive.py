"""An archive of drawings with the labels of the official test split, as a reader study needs."""

from pathlib import Path

import numpy as np

from medvit.checkpoint import DEFAULT_ROOT, load
from medvit.data import synthetic


def write_archive(root: Path, subset: str = "breastmnist", model: str = "cnn") -> None:
    """Write the archive of a subset; a checkpoint takes it for the one that it was tested on."""
    labels = load(DEFAULT_ROOT / subset / model).test_labels
    path = synthetic.write_archive(subset, root, {"train": 4, "val": 4, "test": len(labels)})
    with np.load(path) as archive:
        arrays = dict(archive) | {"test_labels": labels[:, None].astype(np.uint8)}
    np.savez_compressed(path, **arrays)
