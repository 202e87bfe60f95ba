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
    """Let the locks in the block, of this thread, wait no longer once `stopped` returns true."""
    _thread.stopped = stopped
    try:
        yield
    finally:
        del _thread.stopped


class LargeImageLock:
    """A lock to hold while a large image is in memory, from its decoding until it is resized.

        with LargeImageLock() as lock:
            lock.acquire()  # waits until no other thread holds a large image

    The end of the block releases it and returns freed memory to the system.
    """

    def __init__(self) -> None:
        self._acquired = False

    def __enter__(self) -> "LargeImageLock":
        return self

    def acquire(self) -> None:
        """Wait for the lock; nothing if it is acquired already.

        Raises:
            MedvitError: the result is no longer needed; see `give_up_when`.
        """
        if self._acquired:
            return
        stopped: Callable[[], bool] = getattr(_thread, "stopped", lambda: False)
        while not _large_image_lock.acquire(timeout=POLL_SECONDS):
            if stopped():
                raise MedvitError("The job was stopped.")
        self._acquired = True

    def __exit__(self, *_) -> None:
        if self._acquired:
            return_memory()
            _large_image_lock.release()


def return_memory() -> None:
    """Return what was freed to the system, where the C library is glibc; others do so by themselves."""
    if trim := _malloc_trim():
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
def _malloc_trim() -> Callable[[int], int] | None:
    """The function of glibc; None where there is another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
