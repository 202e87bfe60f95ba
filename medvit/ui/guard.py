"""What stands between the network and the app: limits, closed doors, headers, health, the log."""

import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvit import limits
from medvit.ui.multipart import Multipart

API = "/gradio_api"
# The largest body of a request by the start of its path; `limits.BODY_BYTES` for all others.
BODIES = {
    f"{API}/upload": limits.UPLOAD_BYTES,
    f"{API}/component_server": limits.FORM_BYTES,
    f"{API}/mcp": limits.FORM_BYTES * 4 // 3,  # a picture in base64: MCP has no uploads
}
# Routes of Gradio that this app does not use: proxies, recordings, dashboards, code editing.
CLOSED = re.compile(
    rf"/monitoring|/pwa_icon|({API})?/(proxy=|process_recording|deep_link|run-history|runs|vibe|custom_component"
    r"|file=https?:|file/|stream/|profiling|token)",
    re.IGNORECASE,
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    # Hugging Face shows a Space inside its own page.
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
}


class _RefusedError(Exception):
    """A request that is answered here: status and one sentence."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Guard:
    """ASGI middleware around the whole app.

    Refuses bodies and file counts over the limits as soon as they are known, declared or not; answers
    `/healthz`; adds security headers; writes one JSON line a request where `log` is true, without bodies,
    file names, addresses or queries.
    """

    def __init__(self, app: ASGIApp, log: bool = False):
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        headers = dict(scope["headers"])
        limit = next((size for start, size in BODIES.items() if path.startswith(start)), limits.BODY_BYTES)
        form = Multipart(headers.get(b"content-type", b""))
        started, received, status = time.perf_counter(), 0, 0
        refused: _RefusedError | None = None

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            body = message.get("body", b"")
            received += len(body)
            if received > limit:
                refused = _too_large(limit)
            form.take(body)
            if form.parts > limits.UPLOAD_FILES:
                refused = _RefusedError(413, f"At most {limits.UPLOAD_FILES} files may come in one request.")
            elif limit == limits.UPLOAD_BYTES and form.field_bytes > limits.FIELD_BYTES:
                refused = _too_large(limits.FIELD_BYTES)
            if refused:
                raise refused
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                if refused and not status:  # the app took the refusal for a body that it cannot read
                    raise refused
                status = message["status"]
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
                if status == 503:
                    found["retry-after"] = "5"
            await send(message)

        try:
            if path == "/healthz":
                raise _RefusedError(200, "ok")
            if CLOSED.match(path):
                raise _RefusedError(404, "There is nothing here.")
            declared = headers.get(b"content-length", b"0")
            if declared.isdigit() and int(declared) > limit:
                raise _too_large(limit)
            await self.app(scope, counted, answer)
        except ClientDisconnect:
            pass  # in the middle of a request: nobody is left to answer
        except _RefusedError as refusal:
            refused = None
            if not status:
                start = [(b"content-type", b"text/plain; charset=utf-8")]
                if refusal.status == 413:
                    start.append((b"connection", b"close"))  # the rest of the body is not read
                await answer({"type": "http.response.start", "status": refusal.status, "headers": start})
                await answer({"type": "http.response.body", "body": str(refusal).encode()})
        finally:
            if self.log:
                _write_line(scope["method"], path, status, received, time.perf_counter() - started)


def _too_large(limit: int) -> _RefusedError:
    return _RefusedError(413, f"The request is larger than {limit // limits.MB} MB.")


def _write_line(method: str, path: str, status: int, received: int, seconds: float) -> None:
    parts = re.split(r"[=%]", path)[0].split("/")  # what follows names a file
    if path.startswith(API):
        route = "/".join(parts[: 3 if "heartbeat" in parts else 4])  # what follows names a session
    else:
        route = "/".join(parts[:2])
    if status == 404:
        route = "unknown"  # a name that the client made up
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "method": method,
        "route": route,
        "status": status,  # 0: the client left before there was an answer
        "received": received,
        "ms": round(seconds * 1000, 1),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)


def open_uploads_only(demo: gr.Blocks) -> None:
    """Let no component open a path or fetch an address that a visitor names in place of an uploaded file."""
    preprocess = demo.preprocess_data

    async def checked(block_fn, inputs, *args, **kwargs):
        if _names_address(inputs):
            raise gr.Error("Addresses are not fetched here. Send the file itself.", print_exception=False)
        try:
            return await preprocess(block_fn, inputs, *args, **kwargs)
        except InvalidPathError:  # it and its traceback would repeat the path
            raise gr.Error("Only files that were uploaded here are opened.", print_exception=False) from None

    demo.preprocess_data = checked  # type: ignore[method-assign]


def _names_address(value: Any) -> bool:
    """Whether a file in a visitor's JSON is an address."""
    if isinstance(value, dict):
        return is_http_url_like(str(value.get("path"))) or any(map(_names_address, value.values()))
    return isinstance(value, list) and any(map(_names_address, value))


def swept(folder: Path, seconds: int = limits.KEEP_SECONDS):
    """A lifespan for the server: while it runs, files older than `seconds` vanish from `folder`.

    Gradio deletes what it knows of; what an aborted upload leaves behind it does not know.
    """

    @asynccontextmanager
    async def lifespan(_) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep_for_ever, folder, seconds)
            yield
            tasks.cancel_scope.cancel()

    return lifespan


async def _sweep_for_ever(folder: Path, seconds: int) -> None:
    while True:
        await anyio.to_thread.run_sync(sweep, folder, seconds)
        await anyio.sleep(max(1, min(60, seconds / 4)))


def sweep(folder: Path, seconds: float) -> None:
    """Delete the files below a folder that nobody touched for so long, and the folders they leave empty."""
    limit = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds comes before it
        try:
            if path.lstat().st_ctime > limit:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # fails unless it is empty
            else:
                path.unlink()
        except OSError:
            continue
