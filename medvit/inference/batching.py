"""Callers who wait for the same model share its next forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
LARGEST = 16


@dataclass(eq=False)
class _Job:
    item: Any
    done: bool = False
    answer: Any = None
    error: BaseException | None = None


class RequestBatcher(Generic[Item, Answer]):
    """Call it with one item from any number of threads; it answers as `run([item])[0]` would.

    There is no thread of its own and no waiting for company: whoever gets the lock works off all who queued
    up for it in the meantime, `largest` at a time. A lone caller pays nothing.

    Args:
        run: items to as many answers, in their order. It is called with the lock held.
        lock: the lock to queue up for.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Answer]],
        lock: AbstractContextManager,
        largest: int = LARGEST,
    ):
        self._run = run
        self._lock = lock
        self._largest = largest
        self._waiting: deque[_Job] = deque()

    def __call__(self, item: Item) -> Answer:
        """The answer to one item; raises what `run` raises for it."""
        job = _Job(item)
        self._waiting.append(job)
        with self._lock:
            while not job.done:
                self._work([self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))])
        if job.error:
            raise job.error
        return job.answer

    def _work(self, jobs: list[_Job]) -> None:
        try:
            answers = self._run([job.item for job in jobs])
        except BaseException as error:
            if len(jobs) > 1 and isinstance(error, Exception):  # one that fails must not take others along
                for job in jobs:
                    self._work([job])
                return
            for job in jobs:
                job.done, job.error = True, error
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.done, job.answer = True, answer
