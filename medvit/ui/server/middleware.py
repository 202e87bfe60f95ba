"""What stands between the network and the app: limits, closed doors, headers, health, the log."""

import errno
import itertools
import json
import re
import shutil
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like
from pydantic import ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvit import limits
from medvit.ui.server.multipart import Multipart

API = "/gradio_api"
# The largest body of a request by the start of its path; `limits.BODY_BYTES` for all others.
BODIES = {
    f"{API}/upload": limits.UPLOAD_BYTES,
    f"{API}/component_server": limits.FORM_BYTES,
    f"{API}/mcp": limits.MCP_BYTES,
}
DIRECT = (f"{API}/run/", f"{API}/api/", f"{API}/component_server")
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


class LimitsMiddleware:
    """ASGI middleware around the whole app.

    Refuses bodies and file counts over the limits as soon as they are known, declared or not; answers
    `/healthz`; adds security headers; writes one JSON line a request where `log` is true, without bodies,
    file names, addresses or queries.
    """

    def __init__(self, app: ASGIApp, log: bool = False):
        self.app = app
        self.log = log
        self.running = 0  # requests that do not go through Gradio's queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        headers = dict(scope["headers"])
        limit = next((size for start, size in BODIES.items() if path.startswith(start)), limits.BODY_BYTES)
        direct = path.startswith(DIRECT)
        form = Multipart(headers.get(b"content-type", b""))
        started, received, status = time.perf_counter(), 0, 0
        refused: _RefusedError | None = None
        more = True  # whether more of the body may come

        async def counted() -> Message:
            nonlocal received, refused, more
            message = await receive()
            more = message.get("more_body", False)
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
            if direct and self.running >= limits.DIRECT_REQUESTS:
                raise _RefusedError(503, "Busy: try again in a few seconds.")
            if limit == limits.UPLOAD_BYTES and shutil.disk_usage(tempfile.gettempdir()).free < limit:
                raise _full()
            self.running += direct
            try:
                await self.app(scope, counted, answer)
            finally:
                self.running -= direct
        except ClientDisconnect:
            pass  # in the middle of a request: nobody is left to answer
        except Exception as error:
            refusal = error if isinstance(error, _RefusedError) else _failed(error)
            refused = None
            if not status:
                text = str(refusal).encode()
                start = [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", str(len(text)).encode()),
                ]
                if refusal.status == 413:
                    start.append((b"connection", b"close"))
                await answer({"type": "http.response.start", "status": refusal.status, "headers": start})
                await answer({"type": "http.response.body", "body": text, "more_body": True})
                if refusal.status == 413 and more:
                    await _drain(receive)
                await answer({"type": "http.response.body"})
        finally:
            if self.log:
                _write_line(scope["method"], path, status, received, time.perf_counter() - started)


async def _drain(receive: Receive) -> None:
    """Throw away what a client still sends: one that is cut off while it sends may never see its answer."""
    with anyio.move_on_after(limits.DRAIN_SECONDS):
        while (await receive()).get("more_body"):
            pass


def _failed(error: Exception) -> _RefusedError:
    """What is said of an error that nobody expected; where it came from goes to standard error."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _full()
    traceback.print_tb(error.__traceback__)
    print(type(error).__name__, file=sys.stderr, flush=True)  # its text may repeat what came in
    return _RefusedError(500, "Something went wrong here. Try again.")


def _full() -> _RefusedError:
    return _RefusedError(507, "The disk of this server is full. Try again later.")


def _too_large(limit: int) -> _RefusedError:
    return _RefusedError(413, f"The request is larger than {limit // limits.MB} MB.")


def _write_line(method: str, path: str, status: int, received: int, seconds: float) -> None:
    parts = re.split(r"[=%]", path)[0].split("/")  # what follows names a file
    if path.startswith(API):
        named = {"heartbeat", "call"} & set(parts[:3])  # a session, or whatever the client likes
        route = "/".join(parts[: 3 if named else 4])
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
        _mark_files(inputs)
        try:
            return await preprocess(block_fn, inputs, *args, **kwargs)
        except (InvalidPathError, ValidationError):  # they and their tracebacks would repeat what was sent
            raise gr.Error("Only files that were uploaded here are opened.", print_exception=False) from None
        except gr.Error:  # so would a component's own
            raise gr.Error("This is not among the choices.", print_exception=False) from None

    demo.preprocess_data = checked  # type: ignore[method-assign]


def _names_address(value: Any) -> bool:
    """Whether a file in a visitor's JSON is an address."""
    if isinstance(value, dict):
        return is_http_url_like(str(value.get("path"))) or any(map(_names_address, value.values()))
    return isinstance(value, list) and any(map(_names_address, value))


def _mark_files(value: Any) -> None:
    """Mark every file in a visitor's JSON as one: Gradio looks where it lies only where it is marked."""
    if isinstance(value, dict):
        if "path" in value:
            value["meta"] = {"_type": "gradio.FileData"}
        for part in value.values():
            _mark_files(part)
    elif isinstance(value, list):
        for part in value:
            _mark_files(part)


def bound_unread(demo: gr.Blocks) -> None:
    """Let no visitor, nor all together, pile up answers that nobody reads."""
    queue = demo._queue
    push, turns = queue.push, itertools.count()
    waiting, events = queue.pending_messages_per_session, queue.pending_event_ids_session

    async def checked(body, request, username):
        own = waiting.get(body.session_hash)
        if own and own.qsize() > limits.UNREAD_MESSAGES:
            return False, "Busy: read the answers that wait for you, then try again.", "queue_full"
        if next(turns) % limits.UNREAD_MESSAGES:
            return await push(body, request, username)  # to count them all each time would cost
        unread = {session: messages.qsize() for session, messages in list(waiting.items())}
        while sum(unread.values()) > limits.TOTAL_UNREAD_MESSAGES:
            most = max(unread, key=lambda session: unread[session])
            await queue.clean_events(session_hash=most)
            waiting.pop(most, None)
            unread.pop(most)
        for session in [one for one in events if one not in waiting]:
            events.pop(session, None)  # Gradio keeps them for ever
        return await push(body, request, username)

    queue.push = checked  # type: ignore[method-assign]


def cleanup_lifespan(folder: Path, seconds: int = limits.RETENTION_SECONDS):
    """A lifespan for the server: while it runs, files older than `seconds` vanish from `folder`.

    Gradio deletes what it knows of; what an aborted upload leaves behind it does not know, nor what a server
    left that was killed.
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
        for one in (folder, *abandoned(folder)):
            await anyio.to_thread.run_sync(sweep, one, seconds)
        await anyio.sleep(max(1, min(60, seconds / 4)))


def abandoned(folder: Path) -> list[Path]:
    """Folders of uploads beside this one, of the same owner; servers that still run sweep theirs too."""
    found = []
    for one in folder.parent.glob("medvit-uploads-*"):
        with suppress(OSError):
            about = one.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == folder.lstat().st_uid and one != folder:
                found.append(one)
    return found


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
