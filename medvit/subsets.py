"""The twelve 2-D MedMNIST subsets: their facts, and their arrays from disk or from the network.

Names, classes, tasks, licences, addresses and checksums come from the ``medmnist`` package.
"""

import hashlib
import importlib.util
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from medvit.errors import MedvitError

SPLITS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)
MAIN = ("bloodmnist", "breastmnist", "pathmnist", "pneumoniamnist", "retinamnist")


@dataclass(frozen=True)
class Subset:
    """Facts about one subset.

    `task` is medmnist's: "multi-class", "binary-class", "ordinal-regression" or "multi-label, binary-class".
    `samples` counts the images of each split. `md5` and `url` are keyed by source size in pixels.
    """

    name: str
    title: str
    description: str
    task: str
    classes: tuple[str, ...]
    channels: int
    samples: dict[str, int]
    licence: str
    url: dict[int, str]
    md5: dict[int, str]

    @property
    def multi_label(self) -> bool:
        return self.task == "multi-label, binary-class"

    @property
    def ordinal(self) -> bool:
        return self.task == "ordinal-regression"

    def file_name(self, size: int = 28) -> str:
        """Name of the archive that holds the images at `size` pixels, as the medmnist package names it."""
        return f"{self.name}.npz" if size == 28 else f"{self.name}_{size}.npz"


@cache
def _medmnist_info():
    # medmnist/__init__ imports pandas and scikit-image (seconds); its table of facts needs neither.
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise MedvitError("The package medmnist is missing. Install it: pip install medmnist")
    path = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("medmnist_info", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def names() -> tuple[str, ...]:
    """The twelve names, the five shipped subsets first."""
    two_dimensional = [k for k in _medmnist_info().INFO if not k.endswith("3d")]
    return MAIN + tuple(sorted(set(two_dimensional) - set(MAIN)))


@cache
def get(name: str) -> Subset:
    """Look a subset up by name.

    Raises:
        MedvitError: no such subset; the text lists the names.
    """
    if name not in names():
        raise MedvitError(f"There is no subset {name!r}. The subsets are: {', '.join(names())}.")
    info = _medmnist_info().INFO[name]
    suffix = {size: "" if size == 28 else f"_{size}" for size in SIZES}
    return Subset(
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


def short_name(label: str) -> str:
    """A class name for where room is short: without its brackets; a bare number is a grade."""
    return f"grade {label}" if label.isdigit() else label.split("(")[0].strip()


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the archives: `root`, else $MEDVIT_DATA, else the medmnist package's default."""
    chosen = (
        root or os.environ.get("MEDVIT_DATA") or _medmnist_info().DEFAULT_ROOT or Path.home() / ".medmnist"
    )
    return Path(chosen).expanduser()


def archive_path(name: str, size: int = 28, root: str | Path | None = None) -> Path:
    """Where the archive of a subset lies, or would lie."""
    if size not in SIZES:
        raise MedvitError(
            f"There is no source size {size}. MedMNIST comes at {', '.join(map(str, SIZES))} pixels."
        )
    return data_root(root) / get(name).file_name(size)


def load_split(
    name: str, split: str, size: int = 28, root: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one split from the archive on disk.

    Returns:
        images: uint8, (N, size, size, 3), or (N, size, size) for a grey subset.
        labels: int64, (N,) class indices, or (N, classes) of 0 and 1 for a multi-label subset.

    Raises:
        MedvitError: the archive is absent, damaged, or does not hold this subset.
    """
    subset, path = get(name), archive_path(name, size, root)
    if split not in SPLITS:
        raise MedvitError(f"There is no split {split!r}. The splits are: {', '.join(SPLITS)}.")
    if not path.is_file():
        raise MedvitError(
            f"{subset.title} is not on this machine: {path} does not exist. "
            f"Fetch it with `python scripts/download.py {name} --size {size}`, or point --data-root or "
            f"$MEDVIT_DATA "
            "at the folder that holds it."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedvitError(
            f"{path} cannot be read as {subset.title} ({error}). Delete it and fetch it again with "
            f"`python scripts/download.py {name} --size {size}`."
        ) from error
    expected = (size, size) if subset.channels == 1 else (size, size, 3)
    if images.dtype != np.uint8 or images.shape[1:] != expected or len(images) != len(labels):
        raise MedvitError(
            f"{path} does not hold {subset.title} at {size} pixels: its images are {images.shape}."
        )
    labels = labels.astype(np.int64)
    return images, labels if subset.multi_label else labels.reshape(len(labels))


def md5sum(path: Path) -> str:
    """Hex md5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def download(
    name: str,
    size: int = 28,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Fetch the official archive unless it is there already, and check its md5.

    The file appears under its name only when it is whole: it is written as ``*.part`` and renamed at the end.

    Args:
        progress: called with (bytes done, bytes in all; 0 where the server does not say).

    Raises:
        MedvitError: no network, a broken transfer, or a wrong md5. The text says where the file can be put
            by hand.
    """
    subset, path = get(name), archive_path(name, size, root)
    url, md5 = subset.url[size], subset.md5[size]
    if path.is_file():
        if md5sum(path) == md5:
            return path
        raise MedvitError(f"{path} is there, but its md5 is not {md5}. Delete or rename it, then try again.")
    part = path.with_suffix(".npz.part")
    by_hand = f"To do it by hand: fetch {url}, save it as {path} (md5 {md5})."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.md5(usedforsecurity=False)
        with urllib.request.urlopen(url, timeout=30) as response, part.open("wb") as file:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while block := response.read(1 << 20):
                file.write(block)
                digest.update(block)
                done += len(block)
                progress(done, total)
        if total and done != total:
            raise MedvitError(
                f"The transfer of {subset.title} broke off after {done} of {total} bytes. {by_hand}"
            )
        if digest.hexdigest() != md5:
            raise MedvitError(f"What came from {url} has md5 {digest.hexdigest()}, not {md5}. {by_hand}")
        part.replace(path)
    except (urllib.error.URLError, OSError) as error:
        raise MedvitError(f"{subset.title} could not be fetched from {url} ({error}). {by_hand}") from error
    finally:
        part.unlink(missing_ok=True)
    return path
