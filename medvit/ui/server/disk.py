"""Room on disk for uploads: shared by address, reserved while they arrive, given back if one is cut off."""

import os
import shutil
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import gradio.route_utils
import gradio.routes
from gradio.route_utils import FileUploadProgress, GradioMultiPartParser, GradioUploadFile
from gradio_client.utils import strip_invalid_filename_characters
from starlette.requests import Request

from medvit import limits
from medvit.ui.server.bodies import BodyLimiter
from medvit.ui.server.responses import disk_full, malformed
from medvit.ui.server.shares import FairShare, fits


class _Created:
    """Paths of the files that a request created, until it ends; then it may create no more."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.ended = False
        self.lock = threading.Lock()


_created: ContextVar[_Created] = ContextVar("files of the current request")


class UploadSpace:
    """Space in the folder that Gradio writes uploads to; each address may have as much as is still free."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._uploads: set[BodyLimiter] = set()  # that are under way
        self._stored: deque[tuple[float, str, int, int]] = deque()  # time, address, bytes, files
        self._bytes: Counter[str] = Counter()  # stored, by address
        self._files = FairShare(limits.UPLOADED_FILES, disk_full)

    @contextmanager
    def reserve(self, upload: BodyLimiter) -> Iterator[None]:
        """Hold room for an upload while the block runs.

        Raises:
            RefusedError: there is no room beside the uploads under way, or there are too many files.
        """
        self._forget_deleted()
        promised: Counter[str] = Counter()
        for other in self._uploads:
            promised[other.address] += other.expected - other.received
        own = self._bytes[upload.address] + promised[upload.address]
        free = shutil.disk_usage(self.folder).free
        with os.scandir(self.folder) as entries:
            count = sum(1 for _ in entries)
        if not fits(own, upload.expected, promised.total(), free) or count > limits.UPLOADED_FILES:
            raise disk_full()
        counted = 0

        def count_files(files: int) -> None:
            nonlocal counted
            self._files.take(upload.address, files - counted)
            counted = files

        upload.count_files = count_files
        self._uploads.add(upload)
        try:
            yield
        finally:
            self._uploads.discard(upload)
            if upload.complete and not upload.refused:
                self._stored.append((time.monotonic(), upload.address, upload.received, counted))
                self._bytes[upload.address] += upload.received
            else:
                self._files.give_back(upload.address, counted)

    def _forget_deleted(self) -> None:
        """Forget the uploads that are old enough to have been deleted."""
        limit = time.monotonic() - limits.RETENTION_SECONDS
        while self._stored and self._stored[0][0] < limit:
            _, address, size, files = self._stored.popleft()
            self._files.give_back(address, files)
            self._bytes[address] -= size
            if not self._bytes[address]:
                del self._bytes[address]


class TemporaryFile:
    """A part of a form on its way to disk; not kept open, as a form may have more parts than descriptors."""

    def __init__(self, delete: bool = False, dir: str | Path | None = None):
        self._folder = dir
        self._created = _created.get(_Created())
        self._name = ""

    @property
    def name(self) -> str:
        """Its path. It is created at the first use, which is in a thread, unlike the parsing of the form."""
        if not self._name:
            with self._created.lock:
                if self._created.ended:
                    raise FileNotFoundError("The request of this file has ended.")
                descriptor, self._name = tempfile.mkstemp(dir=self._folder)
                self._created.paths.append(self._name)
            os.close(descriptor)
        return self._name

    def write(self, data: bytes) -> int:
        """Append to the file."""
        with os.fdopen(os.open(self.name, os.O_WRONLY | os.O_APPEND), "wb") as file:
            return file.write(data)

    def read(self, size: int = -1) -> bytes:
        """The start of the file."""
        with Path(self.name).open("rb") as file:
            return file.read(size)

    def seek(self, offset: int) -> None:
        """Nothing: Gradio rewinds each part before it is read or moved."""

    def close(self) -> None:
        """Nothing, as it is not open."""


def store_uploads_in_threads() -> None:
    """Let Gradio write the parts of forms to TemporaryFile, and store uploads with `receive_files`."""
    gradio.route_utils.NamedTemporaryFile = TemporaryFile  # type: ignore[assignment]
    gradio.routes.upload_fn = receive_files  # type: ignore[attr-defined]


async def receive_files(
    request: Request,
    upload_dir: str,
    max_file_size: float,
    upload_id: str | None = None,
    force_move: bool = False,
    upload_progress: FileUploadProgress | None = None,
) -> tuple[list[str], list[str], list[str]]:
    """Replaces Gradio's `upload_fn`, which moves the files, up to a thousand, on the event loop.

    Returns:
        the paths of the files, and two empty lists.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise malformed()
    if upload_id and upload_progress:
        upload_progress.track(upload_id)
    parser = GradioMultiPartParser(
        request.headers,
        request.stream(),
        upload_dir=upload_dir,
        upload_id=upload_id,
        upload_progress=upload_progress,
        max_file_size=max_file_size,
    )
    files = (await parser.parse()).getlist("files")
    return await anyio.to_thread.run_sync(_store, files, Path(upload_dir)), [], []


def _store(files: list[Any], folder: Path) -> list[str]:
    """Move uploads to <folder>/<hash of the content>/<name>, where Gradio looks for them."""
    paths = []
    for file in files:
        if not isinstance(file, GradioUploadFile):
            raise malformed()
        name = strip_invalid_filename_characters(Path(file.filename or "").name) or "file"
        if name == "..":
            raise malformed()
        directory = folder / file.sha.hexdigest()
        directory.mkdir(exist_ok=True)
        Path(file.file.name).rename(directory / name)
        paths.append(str(directory / name))
    return paths


@contextmanager
def delete_left_files() -> Iterator[None]:
    """Delete what a request that the block serves wrote to disk and did not move where it is kept.

    Gradio leaves the parts of a form that is cut off, lacks its end, or names unknown fields.
    """
    created = _Created()
    token = _created.set(created)
    try:
        yield
    finally:
        _created.reset(token)
        with created.lock:
            created.ended = True
        for path in created.paths:
            with suppress(OSError):
                Path(path).unlink()
