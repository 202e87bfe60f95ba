"""Fair shares: what is limited is divided among the addresses of the clients."""

import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache

import anyio

from medvit.ui.server.responses import RefusedError, busy


@lru_cache(10_000)
def network(address: str) -> str:
    """The address itself; of IPv6 the /64 network, which is given to one customer."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def fits(own: int, amount: int, used: int, limit: int) -> bool:
    """Whether a client that has `own` may have `amount` more of a limit of which all clients use `used`.

    Each client may have as much as is free: one alone gets half, and n of them leave 1 / (n + 1) to others
    (dynamic thresholds, Choudhury and Hahne 1998, https://doi.org/10.1109/90.664262).
    """
    return own + amount <= limit - used


class FairShare:
    """Something limited that clients hold for a while, such as slots or bytes of memory."""

    def __init__(self, limit: int, refusal: Callable[[], RefusedError] = busy):
        self.limit = limit
        self._refusal = refusal
        self.by_address: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """What all clients hold together."""
        return self.by_address.total()

    def take(self, address: str, amount: int = 1) -> None:
        """Hold more; raises RefusedError where it does not fit."""
        if not fits(self.by_address[address], amount, self.used, self.limit):
            raise self._refusal()
        self.by_address[address] += amount

    def give_back(self, address: str, amount: int = 1) -> None:
        """Hold less."""
        self.by_address[address] -= amount
        if not self.by_address[address]:
            del self.by_address[address]

    @contextmanager
    def hold(self, address: str) -> Iterator[None]:
        """Hold one while the block runs; raises RefusedError where it does not fit."""
        self.take(address)
        try:
            yield
        finally:
            self.give_back(address)


class PerAddressLimiter:
    """Lets a few requests of each address run at once; the others of that address wait."""

    def __init__(self, places: int):
        self.places = places
        self._rooms: dict[str, anyio.Semaphore] = {}

    @asynccontextmanager
    async def enter(self, address: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it while the block runs."""
        room = self._rooms.setdefault(address, anyio.Semaphore(self.places))
        try:
            async with room:
                yield
        finally:
            if room.value == self.places and not room.statistics().tasks_waiting:
                self._rooms.pop(address, None)
