"""Room on disk for uploads: shared by address, reserved while they arrive, given back if one is cut off."""

import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import gradio.route_utils

from medvit import limits
from medvit.ui.server.bodies import BodyLimiter
from medvit.ui.server.responses import disk_full
from medvit.ui.server.shares import FairShare, fits

_created: ContextVar[list[str]] = ContextVar("files that the current request created")


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
        descriptor, self.name = tempfile.mkstemp(dir=dir)
        os.close(descriptor)
        _created.get([]).append(self.name)

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


def use_temporary_files() -> None:
    """Let Gradio write the parts of forms to TemporaryFile."""
    gradio.route_utils.NamedTemporaryFile = TemporaryFile  # type: ignore[assignment]


@contextmanager
def delete_left_files() -> Iterator[None]:
    """Delete what a request that the block serves wrote to disk and did not move where it is kept.

    Gradio leaves the parts of a form that is cut off, lacks its end, or names unknown fields.
    """
    names: list[str] = []
    token = _created.set(names)
    try:
        yield
    finally:
        _created.reset(token)
        for name in names:
            with suppress(OSError):
                Path(name).unlink()
