"""The twelve 2-D MedMNIST subsets: their facts, and their arrays from disk or from the network.

Names, classes, tasks, licences, addresses and checksums come from the ``medmnist`` package.
"""

import http.client
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
from typing import BinaryIO

import numpy as np

from medvit.errors import MedvitError
from medvit.files import md5sum

SPLITS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)
BLOCK = 2**18  # bytes between two steps of a download
MAIN = ("bloodmnist", "breastmnist", "pathmnist", "pneumoniamnist", "retinamnist")


@dataclass(frozen=True)
class Dataset:
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
def get(name: str) -> Dataset:
    """Look a subset up by name.

    Raises:
        MedvitError: no such subset; the text lists the names.
    """
    if name not in names():
        raise MedvitError(f"There is no subset {name!r}. The subsets are: {', '.join(names())}.")
    info = _medmnist_info().INFO[name]
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


def fetch_command(name: str, size: int = 28) -> str:
    """The shell command that fetches the archive of a subset at a source size in pixels."""
    return f"python scripts/download.py {name}" + (f" --size {size}" if size != 28 else "")


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
            f"Fetch it with `{fetch_command(name, size)}`, or point --data-root or $MEDVIT_DATA at the "
            "folder that holds it."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedvitError(
            f"{path} cannot be read as {subset.title} ({error}). Delete it and fetch it again with "
            f"`{fetch_command(name, size)}`."
        ) from error
    expected = (size, size) if subset.channels == 1 else (size, size, 3)
    if images.dtype != np.uint8 or images.shape[1:] != expected or len(images) != len(labels):
        raise MedvitError(
            f"{path} does not hold {subset.title} at {size} pixels: its images are {images.shape}."
        )
    labels = labels.astype(np.int64)
    return images, labels if subset.multi_label else labels.reshape(len(labels))


def sample(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices, ascending, of at most `count` images with the class shares of all.

    The shares are left to chance for multi-label labels (N, C), and where a class has too few images.
    """
    from sklearn.model_selection import train_test_split

    everyone = np.arange(len(labels))
    if count >= len(labels):
        return everyone
    sizes = np.unique(labels, return_counts=True)[1]
    enough = labels.ndim == 1 and sizes.min() > 1 and len(sizes) <= min(count, len(labels) - count)
    stratify = labels if enough else None
    part, _ = train_test_split(everyone, train_size=count, random_state=seed, stratify=stratify)
    return np.sort(part)


def download(
    name: str,
    size: int = 28,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Fetch the official archive unless it is there already, and check its md5.

    The file appears under its name only when it is whole: it is written as ``*.part`` and renamed at the end.
    After a broken transfer the part stays, and the next call goes on from its end; a part that turns out
    wrong is deleted.

    Args:
        progress: called with (bytes done, bytes in all; 0 where the server does not say). What it raises ends
            the transfer, as if it had broken off.

    Raises:
        MedvitError: no network, a broken transfer, a wrong md5, or another process at the same file. The text
            says where the file can be put by hand.
    """
    subset, path = get(name), archive_path(name, size, root)
    url, md5 = subset.url[size], subset.md5[size]
    by_hand = f"To do it by hand: fetch {url}, save it as {path} (md5 {md5})."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_path(path).open("ab") as part:
            _lock(part, path)
            try:
                if path.is_file():
                    part_path(path).unlink()
                    if md5sum(path) == md5:
                        return path
                    raise MedvitError(
                        f"{path} is there, but its md5 is not {md5}. Delete or rename it, then try again."
                    )
                whole = _transfer(url, part, progress)
                if not whole:
                    raise MedvitError(
                        f"The transfer of {subset.title} broke off after {part.tell()} bytes. Try again: it "
                        f"goes on from there. {by_hand}"
                    )
                found = md5sum(part_path(path))
                if found != md5:
                    part_path(path).unlink()
                    raise MedvitError(f"What came from {url} has md5 {found}, not {md5}. {by_hand}")
                part_path(path).replace(path)
            finally:  # while the lock is held: an empty part may be another's, who has just begun
                if part_path(path).is_file() and not part_path(path).stat().st_size:
                    part_path(path).unlink()
    except (OSError, http.client.HTTPException) as error:
        raise MedvitError(f"{subset.title} could not be fetched from {url} ({error}). {by_hand}") from error
    return path


def part_path(archive: Path) -> Path:
    """Where an archive lies while it is being fetched."""
    return archive.with_name(f"{archive.name}.part")


def _lock(part: BinaryIO, path: Path) -> None:
    """Keep other processes from writing to the same part; the lock ends with the file's closing."""
    try:
        import fcntl
    except ImportError:  # Windows: two downloads of one archive at once are not noticed there
        return
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MedvitError(f"{path.name} is being fetched already. Wait until that is done.") from None


def _transfer(url: str, part: BinaryIO, progress: Callable[[int, int], None]) -> bool:
    """Append to `part` what it lacks of the file at `url`; whether all came that the server announced."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={part.tell()}-"} if part.tell() else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return True  # nothing is lacking; the md5 tells whether it is right
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # a server that sends all of it again
            part.truncate(0)
        length = int(response.headers.get("Content-Length") or 0)
        total = length and part.seek(0, os.SEEK_END) + length
        while block := response.read(BLOCK):
            part.write(block)
            progress(part.tell(), total)
        part.flush()
        return not total or part.tell() == total
