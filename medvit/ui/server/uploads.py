"""Let components open only files that were uploaded here, and few of them at once."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio.route_utils import FileUploadProgress
from gradio_client.utils import is_http_url_like
from pydantic import ValidationError

from medvit import limits

MAX_PROGRESS = 1_000  # uploads whose progress is kept


def open_uploads_only(demo: gr.Blocks) -> None:
    """Refuse paths and addresses that a visitor names in place of an uploaded file.

    Errors are raised without their cause, whose text and traceback would repeat what was sent.
    """
    preprocess = demo.preprocess_data

    async def checked(block_fn, inputs, *args, **kwargs):
        _check_files(inputs)
        try:
            return await preprocess(block_fn, inputs, *args, **kwargs)
        except (InvalidPathError, ValidationError):
            raise gr.Error("Only files that were uploaded here are opened.", print_exception=False) from None
        except gr.Error:
            raise gr.Error("This is not among the choices.", print_exception=False) from None
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, OSError):
            raise gr.Error("A value has the wrong form.", print_exception=False) from None

    demo.preprocess_data = checked  # type: ignore[method-assign]


def _check_files(inputs: Any) -> None:
    """Count the files in a visitor's JSON before any is looked at, and mark them for Gradio's own check.

    Gradio checks the path only of dictionaries that are marked as files.
    """
    paths = set()
    for count, file in enumerate(_files(inputs), start=1):
        if count > limits.UPLOAD_FILES:
            raise gr.Error(f"At most {limits.UPLOAD_FILES:,} files can be sent.", print_exception=False)
        if is_http_url_like(str(file["path"])):
            raise gr.Error("Addresses are not fetched here. Send the file itself.", print_exception=False)
        if str(file["path"]) in paths:
            raise gr.Error("A file can be sent only once.", print_exception=False)
        paths.add(str(file["path"]))
        file["meta"] = {"_type": "gradio.FileData"}


def _files(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary with a path in a visitor's JSON."""
    if isinstance(value, dict):
        if "path" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _files(item)


class BoundedProgress(FileUploadProgress):
    """Progress of uploads by the id that their page gave them. Gradio keeps every id for ever."""

    def track(self, upload_id: str) -> None:
        """Begin to keep the progress of an upload."""
        super().track(upload_id)
        while len(self._statuses) > MAX_PROGRESS:
            self.stop_tracking(next(iter(self._statuses)))

    def append(self, upload_id: str, filename: str, message_bytes: bytes) -> None:
        """Add to the progress of an upload, unless it is no longer kept."""
        if upload_id in self._statuses:
            super().append(upload_id, filename[:255], message_bytes)

    async def is_tracked(self, upload_id: str) -> bool:
        """Wait until the progress of an upload is kept."""
        try:
            return await super().is_tracked(upload_id)
        finally:
            if upload_id not in self._statuses:
                self._signals.pop(upload_id, None)

    def set_done(self, upload_id: str) -> None:
        """Note the end of an upload, unless its progress is no longer kept."""
        if upload_id in self._statuses:
            super().set_done(upload_id)

    def stop_tracking(self, upload_id: str) -> None:
        """Forget an upload."""
        super().stop_tracking(upload_id)
        self._signals.pop(upload_id, None)
