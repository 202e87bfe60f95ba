"""The twelve 2-D MedMNIST subsets: their facts, and their arrays from disk or from the network.

Names, classes, tasks, licences, addresses and checksums come from the ``medmnist`` package.
"""

import importlib.util
import os
import zipfile
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from medvit.data.dataset import SPLITS, Dataset
from medvit.data.download import Progress, download_file, no_progress
from medvit.errors import MedvitError

SIZES = (28, 64, 128, 224)
MAIN = ("bloodmnist", "breastmnist", "pathmnist", "pneumoniamnist", "retinamnist")  # shipped with checkpoints


@cache
def package_info() -> ModuleType:
    """Return the ``medmnist`` package's table of facts, without its slow imports (pandas, scikit-image)."""
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise MedvitError("The package medmnist is missing. Install it: pip install medmnist")
    path = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("medmnist_info", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def names() -> tuple[str, ...]:
    """Return the twelve names, the five with shipped checkpoints first."""
    two_dimensional = [name for name in package_info().INFO if not name.endswith("3d")]
    return MAIN + tuple(sorted(set(two_dimensional) - set(MAIN)))


@cache
def get(name: str) -> Dataset:
    """Look up a subset by name.

    Raises:
        MedvitError: there is no such subset; the text lists the names.
    """
    if name not in names():
        raise MedvitError(f"There is no subset {name!r}. The subsets are: {', '.join(names())}.")
    info = package_info().INFO[name]
    suffix = {size: "" if size == 28 else f"_{size}" for size in SIZES}
    return Dataset(
        name=name,
        title=info["python_class"],
        description=info["description"],
        task=info["task"],
        classes=tuple(info["label"][str(i)] for i in range(len(info["label"]))),
        channels=info["n_channels"],
        samples=dict(info["n_samples"]),
        licence=info["license"],
        url={size: info[f"url{suffix[size]}"] for size in SIZES},
        md5={size: info[f"MD5{suffix[size]}"] for size in SIZES},
    )


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of the archives: `root`, else $MEDVIT_DATA, else the medmnist package's default."""
    default = package_info().DEFAULT_ROOT or Path.home() / ".medmnist"
    return Path(root or os.environ.get("MEDVIT_DATA") or default).expanduser()


def archive_path(name: str, size: int = 28, root: str | Path | None = None) -> Path:
    """Return where the archive of a subset at `size` pixels belongs, whether it is there or not."""
    if size not in SIZES:
        raise MedvitError(
            f"There is no source size {size}. MedMNIST comes at {', '.join(map(str, SIZES))} pixels."
        )
    return data_root(root) / (f"{get(name).name}.npz" if size == 28 else f"{get(name).name}_{size}.npz")


def download_command(name: str, size: int = 28) -> str:
    """Return the shell command that downloads the archive of a subset at a source size in pixels."""
    return f"medvit download {name}" + (f" --size {size}" if size != 28 else "")


def download(
    name: str, size: int = 28, root: str | Path | None = None, progress: Progress = no_progress
) -> Path:
    """Download the official archive of a subset unless it is there already, and return its path.

    Args and errors are those of `medvit.data.download.download_file`.
    """
    dataset, path = get(name), archive_path(name, size, root)
    return download_file(dataset.url[size], path, dataset.md5[size], progress)


def load_split(
    name: str, split: str, size: int = 28, root: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one split from the archive on disk.

    Returns:
        images: uint8, (N, size, size, 3), or (N, size, size) for a grey subset.
        labels: int64, (N,) class indices, or (N, classes) of 0 and 1 for a multi-label subset.

    Raises:
        MedvitError: the archive is absent, damaged, or holds another subset.
    """
    dataset, path = get(name), archive_path(name, size, root)
    if split not in SPLITS:
        raise MedvitError(f"There is no split {split!r}. The splits are: {', '.join(SPLITS)}.")
    if not path.is_file():
        raise MedvitError(
            f"{dataset.title} is not on this machine: {path} does not exist. "
            f"Download it with `{download_command(name, size)}`, or set --data-root or $MEDVIT_DATA to the "
            "folder that holds it."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedvitError(
            f"{path} cannot be read as {dataset.title} ({error}). Delete it and download it again with "
            f"`{download_command(name, size)}`."
        ) from error
    expected = (size, size) if dataset.channels == 1 else (size, size, 3)
    if images.dtype != np.uint8 or images.shape[1:] != expected or len(images) != len(labels):
        raise MedvitError(
            f"{path} does not hold {dataset.title} at {size} pixels: its images are {images.shape}."
        )
    labels = labels.astype(np.int64)
    return images, labels if dataset.multi_label else labels.reshape(len(labels))
