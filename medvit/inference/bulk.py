"""Classify many pictures: files, folders and zips, decoded in batches, one row per file.

Zips are read member by member and never extracted. A file that cannot be read becomes a row with the reason.

    with Reader() as reader:
        for rows in predict(predictor, list_files([Path("scans")]), reader):
            ...
"""

import os
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path

import numpy as np

from medvit import limits
from medvit.errors import MedvitError
from medvit.inference.budget import Budget
from medvit.inference.predictor import Prediction, Predictor
from medvit.memory import give_up_when
from medvit.text import escaped

BATCH_SIZE = 64
PREFETCH = 3  # batches decoded or being decoded while the model computes another
THREADS = max(1, min(PREFETCH, (os.cpu_count() or 1) // 2))  # decoders, a batch each; more slow the model
POLL_SECONDS = 0.3  # between two chances to stop
MAX_DIRECTORY = 4 * 2**20  # bytes of a zip's table of contents: room for 10,000 files with long names
ENTRY = b"PK\1\2"  # with which each entry of the table of contents starts
OPEN_ZIPS = 16  # open at once; a process may have about a thousand open files
READABLE_ZIPS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA and bzip2 let the file choose the memory
MAX_NAME = 200  # characters of a file name in a row


@dataclass(frozen=True)
class File:
    """One file to classify: `path` itself, or member number `member` of the zip at `path`.

    `name` is for display only, its control characters escaped. `bytes` is its uncompressed size.
    """

    name: str
    path: Path
    member: int | None
    bytes: int


@dataclass(frozen=True)
class Row:
    """Result for one file. If it could not be read, `note` holds the reason and the rest is empty.

    `set` and `in_distribution` are empty too where the checkpoint has no statistics for them.
    """

    file: str
    label: str = ""
    probability: float | None = None
    set: str = ""
    in_distribution: str = ""
    note: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


def list_files(paths: Iterable[Path], limited: bool = True, full_names: bool = False) -> list[File]:
    """List the files among `paths`: files themselves, those in folders, and those inside zips.

    Hidden ones (names that start with a dot, macOS's ``__MACOSX``) and the folders in a zip are left out, but
    they count.

    Args:
        limited: refuse more than BULK_FILES files or BULK_BYTES bytes, as the app does.
        full_names: begin the names with the paths, which tells equal names in several folders apart.

    Raises:
        MedvitError: no file, a limit exceeded, or a zip without a readable table of contents.
    """
    files: list[File] = []
    most = limits.BULK_FILES if limited else None
    size, entries = 0, (entry for path in paths for entry in _files_in(path, most, full_names))
    for count, (file, skipped) in enumerate(entries, start=1):
        size += file.bytes
        if limited and (count > limits.BULK_FILES or size > limits.BULK_BYTES):
            raise _too_many()
        if not skipped:
            files.append(file)
    if not files:
        raise MedvitError("There is no file to classify. Give pictures, a folder of them, or a zip.")
    return files


def _too_many() -> MedvitError:
    return MedvitError(
        f"At most {limits.BULK_FILES:,} files and {limits.BULK_BYTES >> 20} MB, uncompressed, can be "
        "classified at once; these are more. Split them, or use `medvit predict`, which takes folders of any "
        "size."
    )


def _files_in(path: Path, most: int | None, full_names: bool) -> Iterator[tuple[File, bool]]:
    """Files of a path, and all entries of a zip, each with whether it is to be skipped.

    A zip with more than `most` entries is refused before they are parsed, which takes long.
    """

    def displayed(name: str) -> str:
        return _displayed((path / name).as_posix() if full_names else name)

    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # such as a name that is too long
        raise MedvitError(f"{_displayed(str(path))} cannot be opened ({error.strerror}).") from error
    if is_folder:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                name = file.relative_to(path).as_posix()
                yield File(displayed(name), file, None, file.stat().st_size), _is_hidden(name)
    elif not is_file:
        raise MedvitError(f"There is no file or folder {_displayed(str(path))}.")
    elif path.suffix.lower() == ".zip":
        with _open_zip(path, most) as archive:
            for number, member in enumerate(archive.infolist()):
                name = member.filename
                skipped = member.is_dir() or _is_hidden(name)
                yield File(displayed(name), path, number, member.file_size), skipped
    else:
        name = path.as_posix() if full_names else path.name
        yield File(_displayed(name), path, None, path.stat().st_size), False


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in name.split("/"))


def _displayed(name: str) -> str:
    return escaped(name, MAX_NAME)


class _CappedReader(BufferedReader):
    """A file that refuses to read more than MAX_DIRECTORY bytes at once, as zipfile does for the contents.

    `most`: entries that what is read may have.
    """

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise MedvitError(
                "The zip has too large a table of contents. Extract it and pass the folder instead."
            )
        data = super().read(size)
        if self.most is not None and data.count(ENTRY) > self.most:
            raise _too_many()
        return data


@contextmanager
def _open_zip(path: Path, most: int | None = None) -> Iterator[zipfile.ZipFile]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_CappedReader(FileIO(str(path))))
            file.most = most
            archive = stack.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise MedvitError(
                f"{_displayed(path.name)} cannot be read as a zip ({error}). Pack it again, or give the "
                "pictures."
            ) from error
        yield archive


class Reader:
    """Reads `File`s; the most recent zips stay open until the block ends. Thread-safe."""

    def __init__(self) -> None:
        self._zips: dict[Path, tuple[zipfile.ZipFile, ExitStack]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        with self._lock:  # a thread may be reading
            self._close_oldest(len(self._zips))

    def __call__(self, file: File) -> Path | bytes:
        """Return the bytes of a zip member, else the path.

        Raises:
            MedvitError: the member is too large, compressed like a bomb, encrypted, damaged, or itself a zip.
        """
        if file.member is None:
            return file.path
        with self._lock:
            if file.path not in self._zips:
                self._close_oldest(len(self._zips) - OPEN_ZIPS + 1)
                stack = ExitStack()
                self._zips[file.path] = stack.enter_context(_open_zip(file.path)), stack
            archive, _ = self._zips[file.path]
            return _read_member(archive, archive.infolist()[file.member])

    def _close_oldest(self, count: int) -> None:
        for path in list(self._zips)[: max(0, count)]:
            self._zips.pop(path)[1].close()


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.filename.lower().endswith(".zip"):
        raise MedvitError("A zip inside a zip is not opened.")
    if member.flag_bits & 1:
        raise MedvitError("The file is encrypted with a password.")
    if member.compress_type not in READABLE_ZIPS:
        raise MedvitError("The compression method of the file is not supported; use plain zip.")
    if member.file_size > limits.IMAGE_BYTES:
        raise MedvitError(
            f"The file has {member.file_size >> 20} MB; at most {limits.IMAGE_BYTES >> 20} MB are read."
        )
    if member.file_size > limits.ZIP_RATIO * max(member.compress_size, 1):
        raise MedvitError(
            f"The file is compressed more than {limits.ZIP_RATIO}-fold, as in zip bombs; it is not opened."
        )
    try:
        # In blocks, as zipfile allocates the size requested. It returns no more than file_size.
        with archive.open(member) as stream:
            return b"".join(iter(lambda: stream.read(1 << 20), b""))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise MedvitError(f"The file is damaged in the zip ({type(error).__name__}).") from error


def predict(
    predictor: Predictor,
    files: Iterable[File],
    reader: Reader,
    batch_size: int = BATCH_SIZE,
    budget: Budget | None = None,
) -> Generator[list[Row]]:
    """Yield the rows of `files` in their order, a batch at a time; decoding overlaps with computation.

    Args:
        budget: counts the CPU time. With it, empty batches come while files are decoded: chances to check it,
            and to close the generator.
    """
    remaining, stopped = iter(files), threading.Event()
    groups = iter(lambda: tuple(islice(remaining, batch_size)), ())
    pool, measured = ThreadPoolExecutor(THREADS), budget.count_cpu if budget else nullcontext

    def decode(file: File) -> np.ndarray | MedvitError:
        try:
            with measured(), give_up_when(stopped.is_set):
                return predictor.source(reader(file))
        except MedvitError as error:
            return error

    def submit(group: tuple[File, ...]) -> Future:
        return pool.submit(lambda: [(file, decode(file)) for file in group if not stopped.is_set()])

    pending = deque(map(submit, islice(groups, PREFETCH)))
    try:
        while pending:
            decoding = pending.popleft()
            while budget and not wait((decoding,), POLL_SECONDS).done:
                yield []
            pending.extend(map(submit, islice(groups, 1)))
            with measured():
                rows = make_rows(predictor, decoding.result())
            yield rows
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


def make_rows(predictor: Predictor, decoded: list[tuple[File, np.ndarray | MedvitError]]) -> list[Row]:
    """Run one forward pass; return a row per file, from its source pixels or its decoding error."""
    sources = [source for _, source in decoded if isinstance(source, np.ndarray)]
    predictions = iter(predictor.predict_many(sources) if sources else ())
    return [
        Row(file.name, note=str(source)) if isinstance(source, MedvitError) else _row(file, next(predictions))
        for file, source in decoded
    ]


def _row(file: File, prediction: Prediction) -> Row:
    members, ood_check = prediction.prediction_set(), prediction.in_distribution  # None without trust.npz
    return Row(
        file.name,
        prediction.label,
        float(prediction.display_probs[prediction.top]),
        "" if members is None else "; ".join(prediction.classes[i] for i in members),
        "" if ood_check is None else "yes" if ood_check.accepted else "no",
    )
