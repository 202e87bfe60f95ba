"""The states that the server keeps of its visitors: bounded in number and in memory, shared by address."""

import dataclasses
from collections import Counter, OrderedDict
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import torch
from gradio.blocks import Blocks
from gradio.state_holder import SessionState, StateHolder

from medvit import limits

CHECK_SECONDS = 5
ADDRESSES = 10_000  # of sessions, remembered at once


class Session(SessionState):
    """What is kept of one visitor: states, and the components that changed.

    Gradio also keeps the last value of every component, as it was sent, for links that recreate a page. This
    app has no such links.
    """

    def __init__(self, blocks: Blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        """Nothing; see above."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing; see above."""


class SessionHolder(StateHolder):
    """The sessions of all visitors. Too many: those without a state go first, then the oldest ones, both of
    the address that has the most.

    It keeps only sessions that a request named: to any other, nobody can come back.
    """

    def __init__(self, blocks: Blocks):
        super().__init__()
        self.set_blocks(blocks)
        self._addresses: OrderedDict[str, str] = OrderedDict()  # session -> address

    def remember(self, session: str, address: str) -> None:
        """Note that a request from an address names a session."""
        self._addresses[session] = address
        self._addresses.move_to_end(session)
        while len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)

    def address_of(self, session: str) -> str:
        """The address of the last request that named a session; empty if that was long ago."""
        return self._addresses.get(session, "")

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id in self.session_data:
            return super().__getitem__(session_id)
        session = Session(self.blocks)
        if session_id in self._addresses:
            self.session_data[session_id] = session
            self.update(session_id)
        return session

    def update(self, session_id: str) -> None:
        """Mark a session as the most recently active one, and drop another beyond the capacity."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) <= self.capacity:
                return
            counts = Counter(map(self.address_of, self.session_data))

            def importance(name: str) -> tuple[bool, int]:
                return bool(self.session_data[name].state_data), -counts[self.address_of(name)]

            self._drop(min(list(self.session_data)[:-1], key=importance))  # the oldest of the least important

    def limit_memory(self, budget: int) -> None:
        """Drop sessions while the states of all together exceed `budget` bytes: the oldest of the address
        that uses the most."""
        with self.lock:
            sessions = list(self.session_data.items())  # the most recently active one last
        counted: set[int] = set()
        sizes = {name: size_of(session.state_data, counted) for name, session in reversed(sessions)}
        addresses = {name: self.address_of(name) for name in sizes}  # a request may change them meanwhile
        by_address: Counter[str] = Counter()
        for name, size in sizes.items():
            by_address[addresses[name]] += size
        while by_address.total() > budget:
            largest = max(by_address, key=lambda address: by_address[address])
            oldest = next(name for name in reversed(sizes) if addresses[name] == largest)
            by_address[largest] -= sizes.pop(oldest)
            with self.lock:
                self._drop(oldest)

    def _drop(self, name: str) -> None:
        self.session_data.pop(name, None)
        self.time_last_used.pop(name, None)


async def limit_memory_forever(holder: SessionHolder, budget: int = limits.SESSIONS_BYTES) -> None:
    """Keep the memory of the states of all visitors within a budget, until cancelled."""
    while True:
        await anyio.sleep(CHECK_SECONDS)
        await anyio.to_thread.run_sync(holder.limit_memory, budget)


def size_of(value: Any, counted: set[int]) -> int:
    """Bytes of the tensors, arrays and texts in a state.

    Args:
        counted: ids of the objects that were counted before, such as those that several sessions share.
    """
    if id(value) in counted:
        return 0
    counted.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str | bytes):
        return len(value)
    if dataclasses.is_dataclass(value):
        value = list(vars(value).values())
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return sum(size_of(item, counted) for item in value)
    return 0
