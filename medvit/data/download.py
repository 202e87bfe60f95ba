"""Download a file with a resumable transfer and a checksum."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from medvit.errors import MedvitError
from medvit.files import md5sum

try:
    import fcntl
except ImportError:  # Windows: simultaneous downloads of one file are not detected there
    fcntl = None  # type: ignore[assignment]

BLOCK = 2**18  # bytes between two progress reports

Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def download_file(url: str, path: Path, md5: str, progress: Progress = no_progress) -> Path:
    """Download `url` to `path` unless the file is there already, and check its md5.

    The data are written to ``*.part``, which is renamed when it is complete. An interrupted transfer leaves
    the part, which the next call completes; a part with a wrong checksum is deleted.

    Args:
        progress: called with (bytes done, bytes in all; 0 where the server does not say). An exception that
            it raises stops the transfer and keeps the part.

    Raises:
        MedvitError: no network, an interrupted transfer, a wrong md5, or another process is downloading the
            same file. The text says how to do it by hand.
    """
    by_hand = f"To do it by hand, download {url} and save it as {path} (md5 {md5})."
    part = part_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, path.name) as file:
            if path.is_file():
                part.unlink()
                _check_existing(path, md5)
                return path
            if not _transfer(url, file, progress):
                raise MedvitError(
                    f"The download of {path.name} was interrupted after {file.tell()} bytes. Try again: it "
                    f"resumes from there. {by_hand}"
                )
            actual = md5sum(part)
            if actual != md5:
                part.unlink()
                raise MedvitError(f"The file at {url} has md5 {actual} and not {md5}. {by_hand}")
            part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise MedvitError(f"{path.name} could not be downloaded from {url} ({error}). {by_hand}") from error
    return path


def part_path(path: Path) -> Path:
    """Return where a file is stored while it is being downloaded."""
    return path.with_name(f"{path.name}.part")


def _check_existing(path: Path, md5: str) -> None:
    if md5sum(path) != md5:
        raise MedvitError(f"{path} exists, but its md5 is not {md5}. Delete or rename it, then try again.")


@contextmanager
def _locked(part: Path, name: str) -> Iterator[BinaryIO]:
    """Open the part for appending under an exclusive lock; remove it afterwards if it is empty."""
    with part.open("ab") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MedvitError(f"{name} is already being downloaded. Wait until that is done.") from None
        try:
            yield file
        finally:  # while the lock is held: afterwards an empty part may belong to another process
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def _transfer(url: str, file: BinaryIO, progress: Progress) -> bool:
    """Append to `file` the rest of the content of `url`; return whether all announced bytes arrived."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={file.tell()}-"} if file.tell() else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return True  # the part is complete already; its checksum tells whether it is right
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:  # a server without ranges sends the whole file
            file.truncate(0)
        length = int(response.headers.get("Content-Length") or 0)
        total = length and file.seek(0, os.SEEK_END) + length
        while block := response.read(BLOCK):
            file.write(block)
            progress(file.tell(), total)
        file.flush()
        return not total or file.tell() == total
