"""Room on disk for uploads: reserved while they arrive, and given back when one is cut off."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medvit import limits
from medvit.ui.server.bodies import BodyLimiter
from medvit.ui.server.responses import disk_full


class UploadSpace:
    """Space in the folder that Gradio writes uploads to.

    Gradio writes each file of an upload beside the folders of complete ones, and moves it when all is there.
    It leaves the file where an upload is cut off.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._uploads: set[BodyLimiter] = set()  # that are under way
        self._interrupted = False

    @contextmanager
    def reserve(self, upload: BodyLimiter) -> Iterator[None]:
        """Hold room for an upload while the block runs.

        Raises:
            RefusedError: there is no room beside the uploads under way, or the folder has too many files.
        """
        promised = sum(other.expected - other.received for other in self._uploads)
        with os.scandir(self.folder) as entries:
            count = sum(1 for _ in entries)
        free = shutil.disk_usage(self.folder).free
        if free - promised < upload.expected or count > limits.UPLOADED_FILES:
            raise disk_full()
        self._uploads.add(upload)
        try:
            yield
        finally:
            self._uploads.discard(upload)
            self._interrupted |= not upload.complete
            if self._interrupted and not self._uploads:
                self._interrupted = False
                self._delete_unfinished()

    def _delete_unfinished(self) -> None:
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.is_file():
                    path.unlink()
