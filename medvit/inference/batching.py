"""Requests that wait for the same model share its next forward pass."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_BATCH = 16

# Saliency maps are computed one at a time: each keeps torch's threads busy, and predictions wait for all.
heatmap_lock = threading.Lock()


@dataclass(eq=False)
class _Request:
    item: Any
    done: bool = False
    result: Any = None
    error: BaseException | None = None


class RequestBatcher(Generic[Item, Result]):
    """Call it with one item from any number of threads; it returns what `run([item])[0]` would.

    There is no background thread: the caller that acquires the lock runs the model for all queued requests,
    `max_batch` at a time. A caller without company runs at once.

    Args:
        run: maps items to as many results, in the same order. It is called with the lock held.
        lock: serialises the calls of `run`.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        lock: AbstractContextManager,
        max_batch: int = MAX_BATCH,
    ):
        self._run = run
        self._lock = lock
        self._max_batch = max_batch
        self._queue: deque[_Request] = deque()

    @property
    def queued(self) -> int:
        """Number of requests that no batch includes yet."""
        return len(self._queue)

    def __call__(self, item: Item) -> Result:
        """Return the result for one item; raises what `run` raises for it."""
        request = _Request(item)
        self._queue.append(request)
        with self._lock:
            while not request.done:
                self._run_batch(
                    [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
                )
        if request.error:
            raise request.error
        return request.result

    def _run_batch(self, requests: list[_Request]) -> None:
        try:
            results = self._run([request.item for request in requests])
        except BaseException as error:
            if len(requests) > 1 and isinstance(error, Exception):  # only the request at fault may fail
                for request in requests:
                    self._run_batch([request])
                return
            for request in requests:
                request.done, request.error = True, error
            return
        for request, result in zip(requests, results, strict=True):
            request.done, request.result = True, result
