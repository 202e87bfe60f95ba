"""ASGI middleware between the network and the app: limits, closed routes, headers, health check, log."""

import re
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qs

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medvit import limits
from medvit.ui.server.bodies import BodyLimiter, check_session_hash
from medvit.ui.server.disk import UploadSpace, delete_left_files
from medvit.ui.server.login import OPEN_ROUTES, LoginThrottle, has_basic_login, is_logged_in
from medvit.ui.server.metrics import Metrics
from medvit.ui.server.origins import OriginPolicy
from medvit.ui.server.request_log import API, RequestLog
from medvit.ui.server.responses import (
    SECURITY_HEADERS,
    RefusedError,
    from_exception,
    malformed,
    send_text,
    unprocessable,
)
from medvit.ui.server.sessions import SessionHolder
from medvit.ui.server.shares import FairShare, PerAddressLimiter, network

# Requests outside Gradio's queue.
DIRECT = (f"{API}/run/", f"{API}/api/", f"{API}/component_server")
MCP = (f"{API}/mcp",)
# Routes of Gradio that this app does not use: proxies, recordings, dashboards, code editing.
CLOSED = re.compile(
    rf"/monitoring|/pwa_icon|({API})?/(proxy=|process_recording|deep_link|run-history|runs|vibe|custom_component"
    r"|file=https?:|file/|stream/|profiling|token)",
    re.IGNORECASE,
)
# Rendered anew for each request; also with a slash at the end.
PAGES = ("/", "/config", f"{API}/info", f"{API}/openapi.json")
RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)(, ?(\d+-\d*|-\d+)){0,9}")


class Slots(FairShare):
    """Requests of one kind that may run at once."""

    def __init__(self, paths: tuple[str, ...], limit: int):
        super().__init__(limit)
        self.paths = paths

    def counts(self, method: str, path: str) -> bool:
        """Whether a request is of this kind."""
        return method == "POST" and path.startswith(self.paths)


class LimitsMiddleware:
    """ASGI middleware around the whole app.

    Refuses what exceeds the limits or comes from elsewhere, answers `/healthz`, adds security headers, turns
    every exception into one sentence, and writes one line per request where `log` is true.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: OriginPolicy | None = None,
        log: bool = False,
        uploads: Path | None = None,
        sessions: SessionHolder | None = None,
        metrics: Metrics | None = None,
    ):
        self.sessions = sessions
        self.metrics = metrics
        self.app = app
        self.policy = policy or OriginPolicy()
        self.log = log
        self.slots = (Slots(MCP, limits.MCP_REQUESTS), Slots(DIRECT, limits.DIRECT_REQUESTS))
        self.bodies = FairShare(limits.BODIES_BYTES)
        self.parsing_lock = anyio.Lock()
        self.pages = PerAddressLimiter(limits.PAGES_PER_ADDRESS)
        self.space = UploadSpace(uploads or Path(tempfile.gettempdir()))
        self.throttle = LoginThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # Gradio uses none
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        log = RequestLog(scope["method"], path)
        try:
            await _Request(self, scope, receive, send, path, log).respond()
        finally:
            if self.log:
                log.write()
            if self.metrics:
                self.metrics.count(log)


class _Request:
    """One request on its way through the middleware."""

    def __init__(
        self,
        middleware: LimitsMiddleware,
        scope: Scope,
        receive: Receive,
        send: Send,
        path: str,
        log: RequestLog,
    ):
        self.middleware = middleware
        self.policy = middleware.policy
        self.scope = scope
        self.receive = receive
        self.path = path
        self.log = log
        client = scope.get("client")
        self.address = network(client[0]) if client else ""
        self.origin: str | None = None
        self.refused = False
        self.body: BodyLimiter | None = None
        self.response = _Response(send, self._on_start)

    async def respond(self) -> None:
        """Let the app respond, or refuse."""
        try:
            self._check_target()
            self.origin = self.policy.check(self.scope)
            self._answer_directly()
            self._check_login()
            await self._answer_metrics()
            headers = Headers(scope=self.scope)
            shared = self.middleware
            self.body = BodyLimiter(
                self.receive, self.path, headers, shared.bodies, self.address, shared.parsing_lock
            )
            await self.body.read_ahead()
            if self.body.session and self.middleware.sessions:
                self.middleware.sessions.remember(self.body.session, self.address)
            await self._run()
            await self.response.release()
        except ClientDisconnect:
            pass  # nobody is left to respond to
        except Exception as error:
            await self._refuse(from_exception(error))
        finally:
            if self.body:
                self.body.release()
                self.log.received = self.body.received

    async def _run(self) -> None:
        """Call the app, with a slot for what bypasses the queue and room on disk for an upload."""
        assert self.body
        async with AsyncExitStack() as stack:
            stack.enter_context(delete_left_files())
            for slots in self.middleware.slots:
                if slots.counts(self.scope["method"], self.path):
                    stack.enter_context(slots.hold(self.address))
            if (self.path.rstrip("/") or "/") in PAGES:
                await stack.enter_async_context(self.middleware.pages.enter(self.address))
            if self.body.is_upload and self.scope["method"] == "POST":
                stack.enter_context(self.middleware.space.reserve(self.body))
            await self.middleware.app(self.scope, self.body, self.response)

    def _check_target(self) -> None:
        """Refuse a path or query that no client of this app sends."""
        query = self.scope.get("query_string", b"")
        if len(self.path) + len(query) > limits.TARGET_BYTES:
            raise RefusedError(414, "The address of the request is too long.")
        if any(ord(c) < 32 for c in self.path) or any(
            len(part.encode()) > 255 for part in self.path.split("/")
        ):
            raise malformed()
        values = parse_qs(query.decode("latin-1"))
        for value in (*values.get("session_hash", ()), *values.get("upload_id", ())):
            check_session_hash(value)
        if self.path.startswith(f"{API}/heartbeat/"):
            check_session_hash(self.path.removeprefix(f"{API}/heartbeat/"))
        requested = Headers(scope=self.scope).get("range")
        if requested is not None and not RANGE.fullmatch(requested):
            raise RefusedError(416, "The range of the request is not understood.")

    def _answer_directly(self) -> None:
        """Answer what the app need not see: health, preflights of allowed origins, closed routes."""
        if self.path == "/healthz":
            raise RefusedError(200, "ok")
        headers = Headers(scope=self.scope)
        if self.scope["method"] == "OPTIONS" and self.origin:
            requested = headers.get("access-control-request-headers", "")
            raise RefusedError(200, "ok", self.policy.cors_headers(self.origin, requested))
        if CLOSED.match(self.path):
            raise RefusedError(404, "There is nothing here.")

    async def _answer_metrics(self) -> None:
        """Answer /metrics, where it is served, to whoever is logged in or sends the login in the header."""
        metrics = self.middleware.metrics
        if metrics is None or self.path != "/metrics":
            return
        if not is_logged_in(self.scope):
            self.middleware.throttle.begin(self.address)
            if not has_basic_login(self.scope):
                raise RefusedError(401, "Log in first.", {"www-authenticate": "Basic"})
            self.middleware.throttle.succeed(self.address)
        text, content_type = await anyio.to_thread.run_sync(metrics.render)
        raise RefusedError(200, text, {"content-type": content_type})

    def _check_login(self) -> None:
        """Throttle wrong passwords; close the routes that Gradio leaves open without a login."""
        if self.path.rstrip("/") == "/login" and self.scope["method"] == "POST":
            self.middleware.throttle.begin(self.address)
        elif self.path.removeprefix(API).startswith(OPEN_ROUTES) and not is_logged_in(self.scope):
            raise RefusedError(401, "Log in first.")

    def _on_start(self, message: Message) -> None:
        """Set the headers of a response, whoever it comes from."""
        if self.body and self.body.refused:  # the app took the exception for a body that it cannot read
            raise self.body.refused
        if message["status"] == 422 and not self.refused:
            raise unprocessable()
        self.log.status = message["status"]
        headers = MutableHeaders(scope=message)
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
        if message["status"] == 503:
            headers["retry-after"] = "5"
        if message["status"] == 200 and self.path.rstrip("/") == "/login":
            self.middleware.throttle.succeed(self.address)
        self.policy.set_headers(headers, self.origin)

    async def _refuse(self, refused: RefusedError) -> None:
        if self.response.started:
            return
        if self.body:
            self.body.refused = None
            self.body.release()
        self.refused = True
        self.response.stop_holding()
        await send_text(self.response, refused, more_body=True)
        if self.body and refused.status == 413:
            await self.body.drain()
        await self.response({"type": "http.response.body"})


class _Response:
    """Sends the messages of a response; holds back a status of 500 until the app has ended.

    Starlette sends a 500 of its own before it raises the exception behind it, which decides what is sent.
    """

    def __init__(self, send: Send, on_start: Callable[[Message], None]):
        self._send = send
        self._on_start = on_start
        self._held: list[Message] = []
        self._holds = True
        self.started = False

    async def __call__(self, message: Message) -> None:
        if (
            self._holds
            and message["type"] == "http.response.start"
            and message["status"] == 500
            or self._held
        ):
            self._held.append(message)
        else:
            await self._forward(message)

    async def release(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, []
        for message in held:
            await self._forward(message)

    def stop_holding(self) -> None:
        """Drop what was held back; hold nothing from now on."""
        self._held, self._holds = [], False

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] in (429, 503):
                await anyio.sleep(limits.REFUSAL_SECONDS)
            self._on_start(message)
            self.started = True
        await self._send(message)
