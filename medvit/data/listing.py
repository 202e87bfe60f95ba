"""List one's own labelled pictures: class folders, with or without folders of splits, or a metadata.csv.

scans/benign/1.png                        classes; the splits are drawn
scans/train/benign/1.png                  splits and classes; a split without a folder is drawn from train
scans/metadata.csv                        columns file_name, label and, where known, split and group; without
                                          split, that of the first folders, if all are named after one

Nothing is decoded here. Names are those of someone's files, so they are escaped before they are displayed.
"""

import csv
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from medvit.data.dataset import MAX_CLASSES, MAX_TEXT, SPLITS, is_plain_text
from medvit.errors import MedvitError
from medvit.text import escaped, few

METADATA = "metadata.csv"
MAX_METADATA_BYTES = 200 * 2**20
MAX_PICTURES = 2_000_000
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm"}
# First bytes of the formats that are read, for pictures whose name has another ending or none.
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")


@dataclass(frozen=True)
class Picture:
    """One labelled picture.

    `name` is its path below the folder, to be displayed. `split` and `group` are None where they are not
    given; pictures of one group never cross splits. `source` is its file, or returns the file or its bytes.
    `stamp` changes when the file changes.
    """

    name: str
    label: str
    split: str | None
    group: str | None
    stamp: str
    source: Path | Callable[[], bytes | Path]


@dataclass(frozen=True)
class Listing:
    """All pictures of a folder, in the order of their names, and the names of files that are not pictures.

    `classes` are in the order of their numbers where all are numbers, else in that of the alphabet.
    """

    title: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    left_out: list[str]


def make_listing(title: str, pictures: list[Picture], left_out: list[str]) -> Listing:
    """Sort pictures and classes, and check that a classifier can be trained on them.

    Raises:
        MedvitError: no picture, fewer than two classes, too many, or a class name that cannot be displayed.
    """
    title = escaped(title.strip(), MAX_TEXT) or "pictures"
    if not pictures:
        raise MedvitError(
            f"There is no labelled picture in {title}. Put the pictures of each class into a folder of its "
            f"own, or list them in {METADATA} with the columns file_name and label."
        )
    if len(pictures) > MAX_PICTURES:
        raise MedvitError(f"{title} has {len(pictures):,} pictures; at most {MAX_PICTURES:,} are read.")
    labels = sorted({picture.label for picture in pictures}, key=lambda label: (label.casefold(), label))
    if unusable := [label for label in labels if not is_plain_text(label)]:
        raise MedvitError(
            f"{len(unusable)} class names of {title} are unusable: {few(unusable)}. A class name is one line "
            f"of at most {MAX_TEXT} printable characters."
        )
    if all(re.fullmatch(r"-?\d+", label) for label in labels):
        labels.sort(key=int)
    if len(labels) < 2:
        raise MedvitError(
            f"{title} has one class, {escaped(labels[0])}: a classifier needs at least two, each in a folder "
            f"of its own or with a label of its own in {METADATA}."
        )
    if len(labels) > MAX_CLASSES:
        raise MedvitError(f"{title} has {len(labels):,} classes; at most {MAX_CLASSES:,} are supported.")
    pictures = sorted(pictures, key=lambda picture: picture.name)
    return Listing(title, tuple(labels), pictures, sorted(left_out))


def list_folder(root: Path) -> Listing:
    """List the labelled pictures of a folder.

    Raises:
        MedvitError: the folder has no metadata.csv and no class folders, or they are not usable.
    """
    root = root.resolve()
    try:
        if table := _metadata(root):
            return make_listing(root.name, _from_metadata(root, table), [])
        return make_listing(root.name, *_from_folders(root))
    except OSError as error:
        raise MedvitError(
            f"{escaped(str(root))} cannot be read ({error.strerror}: "
            f"{escaped(Path(os.fsdecode(error.filename or '')).name)})."
        ) from error


def _metadata(root: Path) -> Path | None:
    """The metadata.csv of a folder, which may be written in capitals; None where there is none."""
    files = (Path(entry) for entry in os.scandir(root) if entry.name.lower() == METADATA and entry.is_file())
    return max(files, default=None)  # the lower-case one of several


def _from_folders(root: Path) -> tuple[list[Picture], list[str]]:
    folders = _subfolders(root)
    splits = {name: SPLIT_NAMES.get(name.lower()) for name in folders}
    given = {split for split in splits.values() if split}
    if given and None in splits.values():
        others = [name for name, split in splits.items() if split is None]
        raise MedvitError(
            f"{escaped(root.name)} has folders of splits ({few(n for n in splits if splits[n])}) beside "
            f"other folders ({few(others)}). Keep one kind, or describe the pictures in {METADATA}."
        )
    if len(given) < sum(split is not None for split in splits.values()):
        raise MedvitError(f"{escaped(root.name)} has two folders of the same split: {few(folders)}.")
    pictures: list[Picture] = []
    left_out = [name for name in _files(root) if not name.startswith(".")]
    empty: list[str] = []
    parents = list(splits.items()) if given else [("", None)]
    for parent, split in parents:
        if parent:
            left_out += [f"{parent}/{name}" for name in _files(root / parent) if not name.startswith(".")]
        for label in _subfolders(root / parent):
            below, others = _pictures_below(root, PurePosixPath(parent, label), label, split)
            pictures += below
            left_out += others
            empty += [] if below else [str(PurePosixPath(parent, label))]
    if empty:
        raise MedvitError(
            f"{len(empty)} class folders of {escaped(root.name)} have no picture: {few(empty)}. "
            "Add pictures or remove the folders."
        )
    return pictures, left_out


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__MACOSX"))
    )


def _files(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if not entry.is_dir(follow_symlinks=False)]


def _pictures_below(
    root: Path, folder: PurePosixPath, label: str, split: str | None
) -> tuple[list[Picture], list[str]]:
    """Pictures of a class folder, of any depth, and what else is in it, such as links to folders."""
    pictures, others, outside = [], [], []
    for parent, names, files in os.walk(root / folder, onerror=_raise):
        names[:] = sorted(name for name in names if not name.startswith((".", "__MACOSX")))
        links = [path for path in (Path(parent, name) for name in names) if path.is_symlink()]
        others += [path.relative_to(root).as_posix() for path in links]
        for name in sorted(files):
            path = Path(parent, name)
            relative = path.relative_to(root).as_posix()
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                outside.append(relative)
            elif is_picture(path):
                pictures.append(_picture(path, relative, label, split, None))
            else:
                others.append(relative)
    if outside:
        raise MedvitError(
            f"{len(outside)} links lead out of {escaped(root.name)}: {few(outside)}. Put the pictures "
            "themselves there."
        )
    return pictures, others


def _raise(error: OSError) -> None:
    raise error


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its ending or else by its first bytes; decoding tells for sure."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        if path.suffix.lower() in SUFFIXES:
            return True
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return path.suffix.lower() in SUFFIXES  # its error is reported when it is decoded
    return start.startswith(SIGNATURES) or start[128:] == b"DICM"


def _picture(path: Path, relative: str, label: str, split: str | None, group: str | None) -> Picture:
    try:
        status = path.stat()
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
    except OSError:
        stamp = "unreadable"
    return Picture(relative, label, split, group, stamp, path)


def _from_metadata(root: Path, path: Path) -> list[Picture]:
    if path.stat().st_size > MAX_METADATA_BYTES:
        raise MedvitError(f"{METADATA} is larger than {MAX_METADATA_BYTES >> 20} MB.")
    problems: dict[str, list[str]] = {}
    pictures: dict[str, Picture] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, row in _rows(file):
                picture, problem = _check_row(root, row)
                if picture and picture.name in pictures:
                    problem = "list a file again"
                if problem:
                    problems.setdefault(problem, []).append(f"line {line} ({row.get('file_name') or ''})")
                elif picture:
                    pictures[picture.name] = picture
    except (UnicodeDecodeError, csv.Error) as error:
        raise MedvitError(f"{METADATA} cannot be read as UTF-8 comma-separated values ({error}).") from error
    if problems:
        parts = [f"{len(lines):,} {problem}: {few(lines)}" for problem, lines in problems.items()]
        raise MedvitError(f"Rows of {METADATA} in {escaped(root.name)} are not usable. {'. '.join(parts)}.")
    without_split = [picture.name for picture in pictures.values() if picture.split is None]
    if 0 < len(without_split) < len(pictures):
        raise MedvitError(
            f"{len(without_split):,} rows of {METADATA} have no split: {few(without_split)}. Name all or "
            "none."
        )
    listed = list(pictures.values())
    return _with_splits_of_folders(listed) if without_split else listed


def _with_splits_of_folders(pictures: list[Picture]) -> list[Picture]:
    """The pictures with the splits that their first folders are named after, if all are and one is train."""
    splits = [SPLIT_NAMES.get(PurePosixPath(picture.name).parts[0].lower()) for picture in pictures]
    if None in splits or "train" not in splits:
        return pictures
    return [replace(picture, split=split) for picture, split in zip(pictures, splits, strict=True)]


def _rows(file: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file)
    columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    if repeated := {name for name in columns if name and columns.count(name) > 1}:
        raise MedvitError(f"{METADATA} has columns twice: {few(sorted(repeated))}.")
    if missing := {"file_name", "label"} - set(columns):
        separators = {";": "semicolons", "\t": "tabs"}
        used = [name for character, name in separators.items() if character in "".join(columns)]
        raise MedvitError(
            f"{METADATA} has no column {few(sorted(missing))}. Its columns must be file_name and label and, "
            f"where known, split and group{f', separated by commas and not by {used[0]}' if used else ''}."
        )
    reader.fieldnames = columns
    for row in reader:
        if None in row:
            raise MedvitError(
                f"Line {reader.line_num} of {METADATA} has more cells than there are columns: a text with a "
                "comma belongs in quotation marks."
            )
        yield reader.line_num, {key: (value or "").strip() for key, value in row.items() if key in columns}


def _check_row(root: Path, row: dict[str, str]) -> tuple[Picture | None, str]:
    """The picture of a row of metadata.csv, or what is wrong with it."""
    name, label, split = row["file_name"], row["label"], row.get("split", "").lower()
    if not name or not label:
        return None, "have no file_name or no label"
    if split and split not in SPLIT_NAMES:
        return None, f"have a split that is none of {', '.join(SPLITS)}"
    try:
        path = (root / name).resolve()
        if "\\" in name and not path.is_file():  # as Windows writes paths
            path = (root / name.replace("\\", "/")).resolve()
        if not path.is_relative_to(root):
            return None, "lead out of the folder"
        if not path.is_file():
            return None, "name a file that does not exist"
    except (OSError, ValueError):  # a NUL, or too long a name
        return None, "name a file that does not exist"
    relative = path.relative_to(root).as_posix()
    return _picture(path, relative, label, SPLIT_NAMES.get(split), row.get("group") or None), ""
