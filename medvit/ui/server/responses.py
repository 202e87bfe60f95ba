"""Responses of the server itself: one sentence of plain text, always with the security headers."""

import errno
import os
import re
import sys
import traceback
from pathlib import Path

from starlette.types import Send

from medvit import limits

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/\\])(?:/|[A-Za-z]:\\)(?:[^\s'\"(),;/\\]+[/\\])+(?=[^\s'\"(),;/\\]+[/\\][^\s/\\])"
)


def hide_folders(text: str) -> str:
    """Shorten absolute paths: visitors need not know the folders of the server.

    What is left begins in the working directory or the home folder, elsewhere it is the last two names.
    """
    for folder in (Path.cwd(), Path.home()):  # there may be spaces in their names
        if folder != Path(folder.anchor):
            text = text.replace(f"{folder}{os.sep}", "")
    return ABSOLUTE_PATH.sub("", text)


def displayed_folder(folder: Path) -> str:
    """A folder as visitors may see it: from the working directory on, elsewhere its last two names."""
    inside = folder.is_relative_to(Path.cwd())
    return str(folder.relative_to(Path.cwd()) if inside else Path(*folder.parts[-2:]))


class RefusedError(Exception):
    """A request that the server answers itself: a status and one sentence."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


def too_large(limit: int) -> RefusedError:
    """413: a body larger than `limit` bytes."""
    return RefusedError(413, f"The request is larger than {limit // limits.MB} MB.")


def malformed() -> RefusedError:
    """400: a request that no client of this app sends."""
    return RefusedError(400, "The request is malformed.")


def unprocessable() -> RefusedError:
    """422: JSON of another form than the endpoint expects. FastAPI's own response repeats the input."""
    return RefusedError(422, "The request does not have the form that this endpoint expects.")


def busy() -> RefusedError:
    """503 with the header retry-after."""
    return RefusedError(503, "Busy: try again in a few seconds.", {"retry-after": "5"})


def disk_full() -> RefusedError:
    """507: no room for an upload."""
    return RefusedError(507, "The disk of this server is full. Try again later.")


def from_exception(error: Exception) -> RefusedError:
    """Map an exception to a response; an unexpected one is logged without its text.

    The text of an exception may repeat what a visitor sent, so only its type and place go to standard error.
    """
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return disk_full()
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return malformed()
    if place := _place_in_gradio(error):
        print(f"refused: {type(error).__name__} in {place}", file=sys.stderr, flush=True)
        return malformed()
    log_exception(error)
    return RefusedError(500, "Something went wrong here. Try again.")


def _place_in_gradio(error: Exception) -> str | None:
    """Module and line of an exception that Gradio's routes raised themselves, None for any other.

    They look up what a request names, such as endpoints, components and parameters, without checking it.
    """
    expected = isinstance(error, (LookupError, TypeError, ValueError, AttributeError))
    if not expected and not type(error).__module__.startswith("gradio"):
        return None
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    module = frame.f_globals.get("__name__", "")
    return f"{module}:{line}" if module.split(".")[0] in ("gradio", "gradio_client") else None


def log_exception(error: BaseException) -> None:
    """Write type and place of an exception to standard error, without any value."""
    traceback.print_tb(error.__traceback__, limit=-20)
    print(type(error).__name__, file=sys.stderr, flush=True)


async def send_text(send: Send, refused: RefusedError, more_body: bool = False) -> None:
    """Send a plain-text response; with `more_body` the caller sends its end later."""
    text = str(refused).encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(text)),
        **refused.headers,
    }
    if refused.status == 413:
        headers["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": text, "more_body": more_body})
