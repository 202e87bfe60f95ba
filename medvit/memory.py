"""Bound the memory of large images, and return freed memory to the system."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from medvit.errors import MedvitError

RETURN_SECONDS = 10
POLL_SECONDS = 0.2  # between two looks whether a picture is still needed

_large_image_lock = threading.Lock()  # decoding and resizing one takes up to half a gigabyte


_thread = threading.local()


@contextmanager
def give_up_when(stopped: Callable[[], bool]) -> Iterator[None]:
    """Let the turns in the block, of this thread, wait no longer once `stopped` returns true."""
    _thread.stopped = stopped
    try:
        yield
    finally:
        del _thread.stopped


class LargeImageTurn:
    """A turn to hold a large image in memory, from its decoding until it is resized.

        with LargeImageTurn() as turn:
            turn.take()  # waits until no other thread holds a large image

    The end of the block ends the turn and returns freed memory to the system.
    """

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> "LargeImageTurn":
        return self

    def take(self) -> None:
        """Wait for the turn; nothing if it is taken already.

        Raises:
            MedvitError: the result is no longer needed; see `give_up_when`.
        """
        if self._taken:
            return
        stopped: Callable[[], bool] = getattr(_thread, "stopped", lambda: False)
        while not _large_image_lock.acquire(timeout=POLL_SECONDS):
            if stopped():
                raise MedvitError("The job was stopped.")
        self._taken = True

    def __exit__(self, *_) -> None:
        if self._taken:
            return_memory()
            _large_image_lock.release()


def return_memory() -> None:
    """Return what was freed to the system, where the C library is glibc; others do so by themselves."""
    trim = _glibc_function("malloc_trim")
    if trim:
        trim(0)


def return_memory_regularly() -> None:
    """Start a thread that returns freed memory every RETURN_SECONDS, until the process ends.

    After a burst of requests, glibc keeps what they used for as long as anything above it is in use.
    """

    def repeat() -> None:
        while True:
            time.sleep(RETURN_SECONDS)
            gc.collect()  # large requests stay in reference cycles: connections, and tracebacks of refusals
            return_memory()

    threading.Thread(target=repeat, daemon=True).start()


@cache
def _glibc_function(name: str) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
