"""HTTP connections with time limits, on uvicorn's h11 parser.

httptools, which uvicorn prefers, buffers endless headers and pipelined requests without a limit.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn import config
from uvicorn.protocols.http.h11_impl import H11Protocol

from medvit import limits

_open: Counter[str] = Counter()  # connections by address


class BoundedH11Protocol(H11Protocol):
    """Closes connections without complete headers in time, and those beyond the limit of an address."""

    limit_addresses = True  # False behind a proxy, whose address all connections have

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        _open[self._address] += 1
        if self.limit_addresses and _open[self._address] > limits.CONNECTIONS_PER_ADDRESS:
            transport.abort()
            return
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        _open[self._address] -= 1
        if _open[self._address] <= 0:
            del _open[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch_headers()
        else:
            self._stop_timer()

    def _watch_headers(self) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(limits.HEADER_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None


def use_bounded_protocol(behind_proxy: bool = False) -> None:
    """Make uvicorn serve HTTP by BoundedH11Protocol; Gradio has no option for it."""
    BoundedH11Protocol.limit_addresses = not behind_proxy
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedH11Protocol.__name__}"
