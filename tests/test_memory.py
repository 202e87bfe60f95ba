"""Large images are in memory one at a time, and freed memory is returned to the system."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medvit import memory
from medvit.errors import MedvitError
from medvit.memory import LargeImageLock, give_up_when


def test_one_thread_at_a_time_has_the_turn():
    inside, most = [], []

    def hold(number):
        with LargeImageLock() as lock:
            lock.acquire()
            lock.acquire()  # taken already
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(16)))
    assert most == [1] * 16


def test_who_does_not_take_the_turn_does_not_wait():
    with LargeImageLock() as lock:
        lock.acquire()
        with LargeImageLock():
            pass


def test_who_needs_a_turn_no_longer_stops_waiting_for_it():
    stopped = threading.Event()

    def wait():
        with give_up_when(stopped.is_set), LargeImageLock() as lock:
            lock.acquire()

    with ThreadPoolExecutor(1) as pool, LargeImageLock() as lock:
        lock.acquire()
        waiting = pool.submit(wait)
        stopped.set()
        with pytest.raises(MedvitError, match="stopped"):
            waiting.result(10)
    with LargeImageLock() as lock:
        lock.acquire()


def test_an_error_ends_the_turn():
    with pytest.raises(ValueError, match="damaged"), LargeImageLock() as lock:
        lock.acquire()
        raise ValueError("damaged")
    with LargeImageLock() as lock:
        lock.acquire()


@pytest.mark.skipif(sys.platform != "linux" or not memory._malloc_trim(), reason="not glibc")
def test_freed_memory_is_returned_though_something_above_it_is_in_use():
    result = []

    def allocate():  # in a thread, as requests are
        blocks = [b"x" * 50_000 for _ in range(2000)]  # 100 MB, too small for mappings of their own
        last = blocks[-1]
        blocks.clear()
        before = resident_megabytes()
        memory.return_memory()
        result.append(before - resident_megabytes())
        assert last

    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    assert result[0] > 50


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
