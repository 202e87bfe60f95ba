"""Limits on request bodies, enforced while they arrive: size, time, parts of a form, shape of JSON."""

import re
import time
from collections.abc import Callable
from typing import Any

import anyio
import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from medvit import limits
from medvit.ui.server.multipart import MultipartCounter
from medvit.ui.server.request_log import API
from medvit.ui.server.responses import RefusedError, malformed, too_large
from medvit.ui.server.shares import FairShare
from medvit.untrusted import is_deeper

# The largest body of a request by the start of its path; `limits.BODY_BYTES` for all others.
LARGEST = {
    f"{API}/upload": limits.UPLOAD_BYTES,
    f"{API}/component_server": limits.FORM_BYTES,
    f"{API}/mcp": limits.MCP_BYTES,
}
MAX_CONTENT_TYPE = 256  # bytes; the boundary of a form is part of it
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)', re.DOTALL)  # linear for any input
SESSION_HASH = re.compile(rf"[\w.-]{{1,{limits.SESSION_HASH_CHARACTERS}}}", re.ASCII)
MAX_INTEGER = 2**31
PARTS_AT_ONCE = 32  # of a form; they take a few milliseconds
MIN_PIECE = 1024  # bytes
LONG_JSON = 64_000  # bytes; two megabytes take about twenty milliseconds


class BodyLimiter:
    """Receives the body of one request and refuses it as soon as a limit is exceeded, declared or not.

    An upload is passed on as it arrives, to be written to disk. Any other body is received completely and
    checked first, so that an unfinished one occupies little but a socket.

    `budget`: bytes in memory for all bodies together. `address`: of the client. `parsing_lock`: shared by all
    bodies; long JSON, and pieces of uploads with many files, are parsed one after the other. `count_files`:
    gets the number of files of an upload so far. `expected`: bytes, as declared, else the limit. `received`:
    bytes so far. `session`: hash of the session that it names. `refused`: the reason, once there is one.
    `complete`: no more will arrive.
    """

    def __init__(
        self,
        receive: Receive,
        path: str,
        headers: Headers,
        budget: FairShare,
        address: str,
        parsing_lock: anyio.Lock | None = None,
    ):
        self._receive = receive
        self._parsing_lock = parsing_lock or anyio.Lock()
        self._rest, self._more = b"", False  # of a message of many parts, and whether others follow
        self._budget = budget
        self.address = address
        self._reserved = 0
        self._headers = headers
        self._deadline = time.monotonic() + limits.BODY_SECONDS
        content_type = headers.get("content-type", "").encode("latin-1")[:MAX_CONTENT_TYPE]
        self._form = MultipartCounter(content_type)
        self._is_form = content_type.lower().startswith(b"multipart/")
        self._buffer: bytes | None = None
        self.limit = next(
            (size for start, size in LARGEST.items() if path.startswith(start)), limits.BODY_BYTES
        )
        self.is_upload = self.limit == limits.UPLOAD_BYTES
        declared = headers.get("content-length", "")
        self.expected = int(declared) if declared.isdecimal() else self.limit
        self.received = 0
        self.session: str | None = None
        self.count_files: Callable[[int], None] = lambda files: None  # raises RefusedError for too many
        self.refused: RefusedError | None = None
        self.complete = False

    async def read_ahead(self) -> None:
        """Check the headers; receive and check a body that is no upload; raises RefusedError."""
        if len(self._headers.get("content-type", "")) > MAX_CONTENT_TYPE:
            raise malformed()
        if self.expected > self.limit:
            raise too_large(self.limit)
        if self.is_upload:
            return
        parts = []
        while not self.complete:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
        self._buffer = b"".join(parts)
        if len(self._buffer) > LONG_JSON:
            await self._wait_for_parsing()
        if self._buffer and not self._is_form:
            self.session = check_json(self._buffer)

    async def __call__(self) -> Message:
        """The next message for the app: the body, then what the server sends."""
        if self._buffer is not None:
            body, self._buffer = self._buffer, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await (self._receive() if self.complete else self._next())

    def release(self) -> None:
        """Return the memory of the body to the budget."""
        self._budget.give_back(self.address, self._reserved)
        self._reserved = 0

    async def drain(self) -> None:
        """Discard the rest: a client that is cut off while it sends may never read the response."""
        with anyio.move_on_after(limits.DRAIN_SECONDS):
            while not self.complete and (await self._receive()).get("more_body"):
                pass

    async def _next(self) -> Message:
        try:
            with anyio.fail_after(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive_piece()
        except TimeoutError:
            self.refused = RefusedError(408, "The request took too long to arrive.", {"connection": "close"})
            raise self.refused from None
        body = message.get("body", b"")
        if not self.is_upload:
            self._budget.take(self.address, len(body))
            self._reserved += len(body)
        self.complete = not message.get("more_body", False)
        self.received += len(body)
        latest = time.monotonic() + limits.BODY_SECONDS  # a fast start earns no long pause
        self._deadline = min(self._deadline + len(body) / limits.BODY_RATE, latest)
        self._form.write(body)
        self.refused = self._violation()
        if self.refused:
            raise self.refused
        return message

    async def _receive_piece(self) -> Message:
        """The next message, or a piece of it: to parse hundreds of files takes long."""
        if not self._rest:
            message = await self._receive()
            if not self.is_upload or self._form.most_parts(message.get("body", b"")) <= PARTS_AT_ONCE:
                return message
            self._rest, self._more = message["body"], message.get("more_body", False)
        size = max(MIN_PIECE, len(self._rest) * PARTS_AT_ONCE // self._form.most_parts(self._rest, 1))
        await self._wait_for_parsing()
        piece, self._rest = self._rest[:size], self._rest[size:]
        return {"type": "http.request", "body": piece, "more_body": bool(self._rest) or self._more}

    async def _wait_for_parsing(self) -> None:
        """Wait until this body is the only one whose parsing takes long in this round of the event loop."""
        async with self._parsing_lock:
            await anyio.sleep(0)

    def _violation(self) -> RefusedError | None:
        if self.received > self.limit:
            return too_large(self.limit)
        if self._form.parts > limits.UPLOAD_FILES:
            return RefusedError(413, f"At most {limits.UPLOAD_FILES} files can be uploaded in one request.")
        if not self.is_upload:
            return None
        if self._form.field_bytes > limits.FIELD_BYTES:
            return too_large(limits.FIELD_BYTES)
        try:
            self.count_files(self._form.parts)
        except RefusedError as refused:
            return refused
        return None


def check_json(body: bytes) -> str | None:
    """Check the shape of a JSON body, and those of its values that the server keeps.

    A body that is not JSON passes: the route decides about it.

    Returns:
        the hash of the session that it names.

    Raises:
        RefusedError: too deep, too many values, not text, or a value of another type or size than any client
            sends.
    """
    may_be_many = _most_values(body) > limits.JSON_ELEMENTS  # fast; it also counts what is inside texts
    if may_be_many and _most_values(JSON_STRING.sub(b"", body)) > limits.JSON_ELEMENTS:
        raise RefusedError(413, f"A request may have at most {limits.JSON_ELEMENTS:,} values.")
    if body.count(b'"path"') > limits.UPLOAD_FILES:
        raise RefusedError(413, f"A request may name at most {limits.UPLOAD_FILES} files.")
    if rb"\u0000" in body:
        raise malformed()
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        if body.lstrip()[:1] in (b"{", b"["):
            raise malformed() from None
        return None
    if is_deeper(values, limits.JSON_DEPTH):  # orjson itself stops at 1,024 levels
        raise RefusedError(400, f"A request may be nested at most {limits.JSON_DEPTH} levels deep.")
    if not isinstance(values, dict):
        return None
    _check_values(values)
    return values.get("session_hash")


def _most_values(json: bytes) -> int:
    return sum(map(json.count, (b",", b"[", b"{")))


def check_session_hash(value: Any) -> None:
    """Raise RefusedError unless the value can be the name of a session."""
    if value is not None and not (isinstance(value, str) and SESSION_HASH.fullmatch(value)):
        raise malformed()


def _check_values(values: dict[str, Any]) -> None:
    check_session_hash(values.get("session_hash"))
    for name in ("fn_index", "trigger_id"):
        value = values.get(name)
        if value is not None and not (isinstance(value, int) and abs(value) < MAX_INTEGER):
            raise malformed()
    event_id = values.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and SESSION_HASH.fullmatch(event_id)):
        raise malformed()
    event_data = values.get("event_data")
    if event_data is not None and len(orjson.dumps(event_data)) > limits.EVENT_DATA_BYTES:
        raise RefusedError(413, f"The details of an event may have {limits.EVENT_DATA_BYTES // 1000} kB.")
