"""A memory budget for the state of all visitors together, measured."""

import dataclasses
from typing import Any

import anyio
import numpy as np
import torch

from medvit import limits

CHECK_SECONDS = 5


async def limit_sessions_forever(holder: Any, budget: int = limits.SESSIONS_BYTES) -> None:
    """Drop the states of the least recently active visitors while all together exceed the budget.

    Args:
        holder: `state_holder` of Gradio's app.
    """
    while True:
        await anyio.sleep(CHECK_SECONDS)
        await anyio.to_thread.run_sync(drop_oldest, holder, budget)


def drop_oldest(holder: Any, budget: int) -> None:
    """Drop the oldest sessions beyond `budget` bytes."""
    with holder.lock:
        sessions = list(holder.session_data.items())  # the most recently active one last
    counted: set[int] = set()
    total = 0
    for name, session in reversed(sessions):
        total += size_of(session.state_data, counted)
        if total > budget:
            with holder.lock:
                holder.session_data.pop(name, None)
                holder.time_last_used.pop(name, None)


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
