"""Bound the memory of large images: one at a time in each process, returned to the system afterwards."""

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import cache

M_ARENA_MAX = -8  # malloc.h of glibc
ARENAS = 2

_large_image_lock = threading.Lock()  # decoding and resizing one takes up to half a gigabyte


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
        """Wait for the turn; nothing if it is taken already."""
        if not self._taken:
            _large_image_lock.acquire()
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


def limit_arenas() -> None:
    """Let threads share ARENAS heaps; otherwise glibc keeps freed memory in up to eight for each core.

    To be called before threads are started.
    """
    configure = _glibc_function("mallopt")
    if configure:
        configure(M_ARENA_MAX, ARENAS)


@cache
def _glibc_function(name: str) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
