"""Let components open only files that were uploaded here, and few of them at once."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like
from pydantic import ValidationError

from medvit import limits


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
