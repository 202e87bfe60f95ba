"""Many pictures in, one row each out: from files, folders and zips, streamed in batches through one model.

Zips are read member by member and never extracted. A file that cannot be read becomes a row with its reason.

    with Reader() as reader:
        for rows in predict(predictor, find([Path("scans")]), reader):
            ...
"""

import csv
import os
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from medvit.errors import MedvitError
from medvit.inference.predictor import Prediction, Predictor
from medvit.limits import BATCH_BYTES, BATCH_FILES, PICTURE_BYTES, ZIP_RATIO

BATCH = 64
AHEAD = 3  # batches decoded or being decoded while the model has another
THREADS = max(1, min(AHEAD, (os.cpu_count() or 1) // 2))  # that decode, a batch each; more disturb the model
MAX_DIRECTORY = 4 * 2**20  # bytes of a zip's table of contents: room for 10,000 files with long names
OPEN_ZIPS = 16  # at once, as a process may open a thousand files in all
READABLE_ZIPS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA and bzip2 take memory as the file says


@dataclass(frozen=True)
class File:
    """One file to classify: `path` itself, or member number `member` of the zip at `path`.

    `name` is for showing only, its control characters escaped. `bytes` is its size, unpacked.
    """

    name: str
    path: Path
    member: int | None
    bytes: int


@dataclass(frozen=True)
class Row:
    """What came of one file. Where it could not be read, `note` says why and the rest is empty.

    `set` and `in_distribution` are empty too where the checkpoint has no statistics for them.
    """

    file: str
    label: str = ""
    probability: float | None = None
    set: str = ""
    in_distribution: str = ""
    note: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


def find(paths: Iterable[Path], limited: bool = True) -> list[File]:
    """List the files among `paths`: files themselves, those below folders, and those inside zips.

    Hidden ones are left out: a name that starts with a dot, and macOS's ``__MACOSX``.

    Args:
        limited: refuse more than BATCH_FILES files or BATCH_BYTES bytes, as the app does.

    Raises:
        MedvitError: nothing there, a limit exceeded, or a zip without a readable table of contents.
    """
    found: list[File] = []
    size = 0
    for file in (file for path in paths for file in _files_in(path)):
        found.append(file)
        size += file.bytes
        if limited and (len(found) > BATCH_FILES or size > BATCH_BYTES):
            raise MedvitError(
                f"A batch may have {BATCH_FILES:,} files and {BATCH_BYTES >> 20} MB, unpacked; this "
                "one has more. Split it, or use scripts/predict.py, which takes folders of any size."
            )
    if not found:
        raise MedvitError("There is no file in what was given. Give pictures, a folder of them, or a zip.")
    return found


def _files_in(path: Path) -> Iterator[File]:
    if path.is_dir():
        for below in sorted(path.rglob("*")):
            relative = below.relative_to(path)
            if below.is_file() and not _hidden(relative.parts):
                yield File(shown(relative.as_posix()), below, None, below.stat().st_size)
    elif not path.is_file():
        raise MedvitError(f"There is no file or folder {shown(str(path))}.")
    elif path.suffix.lower() == ".zip":
        with _open_zip(path) as archive:
            for number, member in enumerate(archive.infolist()):
                if not member.is_dir() and not _hidden(member.filename.split("/")):
                    yield File(shown(member.filename), path, number, member.file_size)
    else:
        yield File(shown(path.name), path, None, path.stat().st_size)


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in parts)


def shown(name: str) -> str:
    """A file's name as it may be shown: control and direction characters escaped, at most 200 characters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return safe if len(safe) <= 200 else f"{safe[:99]}…{safe[-100:]}"


class _CappedReader(BufferedReader):
    """A file that gives no more than MAX_DIRECTORY bytes at once.

    zipfile reads a table of contents whole, as large as the file claims it to be, and makes objects of it.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise MedvitError("The zip has too large a table of contents. Unpack it and give the folder.")
        return super().read(size)


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with ExitStack() as kept:
        try:
            file = kept.enter_context(_CappedReader(FileIO(str(path))))
            archive = kept.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise MedvitError(
                f"{shown(path.name)} cannot be read as a zip ({error}). Pack it again, or give the pictures."
            ) from error
        yield archive


class Reader:
    """Reads `File`s, and keeps the last zips open until the block ends. Safe to share between threads."""

    def __init__(self) -> None:
        self._zips: dict[Path, tuple[zipfile.ZipFile, ExitStack]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        self._close_but(0)

    def __call__(self, file: File) -> Path | bytes:
        """The bytes of a zip's member, else the path.

        Raises:
            MedvitError: the member is too large, packed like a bomb, locked, damaged, or itself a zip.
        """
        if file.member is None:
            return file.path
        with self._lock:
            if file.path not in self._zips:
                self._close_but(OPEN_ZIPS - 1)
                kept = ExitStack()
                self._zips[file.path] = kept.enter_context(_open_zip(file.path)), kept
            archive, _ = self._zips[file.path]
            return _read_member(archive, archive.infolist()[file.member])

    def _close_but(self, last: int) -> None:
        for path in list(self._zips)[: max(0, len(self._zips) - last)]:
            self._zips.pop(path)[1].close()


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.filename.lower().endswith(".zip"):
        raise MedvitError("A zip inside a zip is not opened.")
    if member.flag_bits & 1:
        raise MedvitError("The file is locked with a password.")
    if member.compress_type not in READABLE_ZIPS:
        raise MedvitError("The file is compressed in a way that is not read here; use plain zip.")
    if member.file_size > PICTURE_BYTES:
        raise MedvitError(
            f"The file has {member.file_size >> 20} MB; at most {PICTURE_BYTES >> 20} MB are read."
        )
    if member.file_size > ZIP_RATIO * max(member.compress_size, 1):
        raise MedvitError(
            f"The file is packed more than {ZIP_RATIO}-fold, as zip bombs are; it is not opened."
        )
    try:
        # In blocks: zipfile asks the file for as much as is asked of it. It gives no more than file_size.
        with archive.open(member) as packed:
            return b"".join(iter(lambda: packed.read(1 << 20), b""))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise MedvitError(f"The file is damaged in the zip ({type(error).__name__}).") from error


def predict(
    predictor: Predictor, files: Iterable[File], reader: Reader, batch: int = BATCH
) -> Iterator[list[Row]]:
    """Rows of `files` in their order, `batch` at a time; decoding goes on while the model computes.

    Close the generator to stop early.
    """
    remaining = iter(files)
    groups = iter(lambda: tuple(islice(remaining, batch)), ())
    with ThreadPoolExecutor(THREADS) as pool:

        def decode(file: File) -> np.ndarray | MedvitError:
            try:
                return predictor.source(reader(file))
            except MedvitError as error:
                return error

        def submit(group: tuple[File, ...]) -> Future:
            return pool.submit(lambda: [(file, decode(file)) for file in group])

        waiting = deque(map(submit, islice(groups, AHEAD)))
        try:
            while waiting:
                decoded = waiting.popleft().result()
                waiting.extend(map(submit, islice(groups, 1)))
                yield rows(predictor, decoded)
        finally:
            pool.shutdown(cancel_futures=True)


def rows(predictor: Predictor, decoded: list[tuple[File, np.ndarray | MedvitError]]) -> list[Row]:
    """One forward pass: a row for each file, from its source pixels or from why there are none."""
    sources = [source for _, source in decoded if isinstance(source, np.ndarray)]
    predictions = iter(predictor.predict_many(np.stack(sources)) if sources else ())
    return [
        Row(file.name, note=str(source)) if isinstance(source, MedvitError) else _row(file, next(predictions))
        for file, source in decoded
    ]


def _row(file: File, prediction: Prediction) -> Row:
    members, seen = prediction.prediction_set(), prediction.in_distribution  # None without a trust.npz
    return Row(
        file.name,
        prediction.label,
        float(prediction.shown[prediction.top]),
        "" if members is None else "; ".join(prediction.classes[i] for i in members),
        "" if seen is None else "yes" if seen.accepted else "no",
    )


def write_header(out: TextIO) -> None:
    """The first line of the CSV."""
    csv.writer(out, lineterminator="\n").writerow(COLUMNS)


def write_rows(out: TextIO, many: Iterable[Row]) -> None:
    """Append rows; a cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    csv.writer(out, lineterminator="\n").writerows(
        [cell(value) for value in asdict(row).values()] for row in many
    )


def cell(value: str | float | None) -> str:
    """A value as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
