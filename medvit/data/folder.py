"""Open one's own labelled pictures as a dataset: a folder, a parquet file, or a dataset of the hub.

dataset = open_dataset("scans/")                               # decoded once, into the cache
images, labels = medvit.data.load_split(dataset, "train")      # uint8 (N, 224, 224, 3), int64 (N,)
"""

import re
import unicodedata
from pathlib import Path

from medvit.data import hub, medmnist, prepare
from medvit.data.dataset import SOURCE_SIZES, Dataset
from medvit.data.listing import list_folder
from medvit.data.splits import assign
from medvit.errors import MedvitError
from medvit.text import few

SOURCE_SIZE = 224


def open_dataset(
    path: str | Path,
    source_size: int = SOURCE_SIZE,
    *,
    skip_unreadable: bool = False,
    seed: int = 0,
    announce: bool = True,
) -> Dataset:
    """Open labelled pictures: prepare them in the cache, or find them there.

    Args:
        path: a folder of class folders or with a metadata.csv (see `medvit.data.listing`), or what the
            library `datasets` opens (see `medvit.data.hub`).
        source_size: side in pixels of the prepared pictures; the centre square of each is resized to it.
        skip_unreadable: leave pictures out that cannot be decoded, instead of refusing.
        seed: of the random splits, where none are given.
        announce: print which files are left out, as they are no pictures of a class or cannot be decoded.

    Raises:
        MedvitError: the pictures, their labels or their splits are not usable, or the disk is too small. The
            text names the first few and how many there are.
    """
    if source_size not in SOURCE_SIZES:
        raise MedvitError(
            f"The source size must be from {SOURCE_SIZES[0]} to {SOURCE_SIZES[-1]} pixels, not {source_size}."
        )
    listing = hub.list_pictures(str(path)) if hub.opens(path) else list_folder(_folder(path))
    if announce and listing.left_out:
        print(f"Left out of {listing.title}, as they are no pictures of a class: {few(listing.left_out)}")
    request = prepare.Request(
        listing, dataset_name(path), assign(listing, seed), source_size, skip_unreadable, announce
    )
    return prepare.prepare(request)


def dataset_name(path: str | Path) -> str:
    """Return the short name of a dataset, for commands and folders, from the name of its folder."""
    last = str(path) if hub.opens(path) else Path(path).expanduser().resolve().name
    if hub.opens(path):
        last = Path(last).stem if Path(last).exists() else re.split(r"[/:]", last)[-1]
    ascii_text = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-_")[:40].strip("-_") or "pictures"
    return f"my-{name}" if name in medmnist.names() else name


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    try:
        if folder.is_dir():
            return folder
        problem = "is a file and not a folder" if folder.exists() else "does not exist"
    except (OSError, ValueError) as error:  # too long a name, or a NUL in it
        problem = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    raise MedvitError(f"The folder of pictures {few([str(path)])} {problem}.")
