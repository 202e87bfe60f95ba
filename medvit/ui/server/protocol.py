"""HTTP connections with time limits and in limited number, on uvicorn's h11 parser.

httptools, which uvicorn prefers, buffers endless headers and pipelined requests without a limit.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from uvicorn import config
from uvicorn.protocols.http.h11_impl import H11Protocol

from medvit import limits
from medvit.ui.server.shares import network


class Connections:
    """The open connections; closes some where there are more than the process has descriptors for."""

    def __init__(self, limit: int):
        self.limit = limit
        self.by_address: dict[str, dict[BoundedH11Protocol, None]] = {}  # the oldest connection first
        self.idle: dict[BoundedH11Protocol, None] = {}  # without a request; the longest idle first
        self.closed: Counter[str] = Counter()  # by reason

    def __len__(self) -> int:
        return sum(map(len, self.by_address.values()))

    def add(self, connection: "BoundedH11Protocol") -> None:
        """Add a new connection, and close others, or itself, beyond the limits."""
        own = self.by_address.setdefault(connection.address, {})
        own[connection] = None
        if not connection.behind_proxy and len(own) > limits.CONNECTIONS_PER_ADDRESS:
            self.close(connection)
        elif len(self) > self.limit:
            self.close(self._least_important(connection))

    def _least_important(self, new: "BoundedH11Protocol") -> "BoundedH11Protocol":
        """The longest idle connection, else the oldest of the address with the most, else the new one."""
        for connection in self.idle:
            return connection
        if new.behind_proxy:  # all have the same address
            return new
        largest = max(self.by_address.values(), key=len)
        return next(iter(largest))

    def close(self, connection: "BoundedH11Protocol") -> None:
        """Close a connection at once, as there are too many."""
        self.closed["too many"] += 1
        self.remove(connection)
        connection.transport.abort()

    def remove(self, connection: "BoundedH11Protocol") -> None:
        """Forget a connection, if it is known."""
        self.idle.pop(connection, None)
        own = self.by_address.get(connection.address, {})
        own.pop(connection, None)
        if not own:
            self.by_address.pop(connection.address, None)


def connection_limit() -> int:
    """How many connections the descriptors of this process allow; the rest is for files and workers."""
    with suppress(ImportError):  # Windows
        import resource

        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors != resource.RLIM_INFINITY:
            return min(limits.CONNECTIONS, descriptors * 3 // 4)
    return limits.CONNECTIONS


class BoundedH11Protocol(H11Protocol):
    """Closes connections whose headers do not arrive, or whose responses are not read, in time."""

    open = Connections(limits.CONNECTIONS)  # of all instances; H11Protocol has a `connections` of its own
    behind_proxy = False
    address = ""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None  # closes the connection, unless stopped before

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = network(self.client[0]) if self.client else ""
        self.open.add(self)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.open.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch_headers()
            return
        self.open.idle.pop(self, None)
        if not self.flow.write_paused:
            self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # begins the next request if it has arrived
        if self.cycle.response_complete and not self.transport.is_closing():
            self.open.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_timer()
        self._start_timer(limits.BODY_SECONDS, "response not read")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    def _watch_headers(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self.open.idle[self] = None
            self._start_timer(limits.HEADER_SECONDS, "no request")

    def _start_timer(self, seconds: float, reason: str) -> None:
        self._timer = self.loop.call_later(seconds, self._time_out, reason)

    def _time_out(self, reason: str) -> None:
        self.open.closed[reason] += 1
        self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


def use_bounded_protocol(behind_proxy: bool = False) -> None:
    """Make uvicorn serve HTTP by BoundedH11Protocol; Gradio has no option for it."""
    BoundedH11Protocol.open = Connections(connection_limit())
    BoundedH11Protocol.behind_proxy = behind_proxy
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedH11Protocol.__name__}"
