"""The time that one job may take."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """Wall-clock time and CPU time of one job, in seconds; counted from its creation. Thread-safe."""

    def __init__(self, seconds: float, cpu_seconds: float):
        self.seconds = seconds
        self.cpu_seconds = cpu_seconds
        self._began = time.monotonic()
        self._cpu = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def count_cpu(self) -> Iterator[None]:
        """Count the CPU time that the calling thread spends in the block."""
        began = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._cpu += time.thread_time() - began

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._began

    def exceeded(self) -> str:
        """What was used up, such as "10 minutes of CPU time"; empty while there is time left."""
        if self.elapsed > self.seconds:
            return duration(self.seconds)
        return f"{duration(self.cpu_seconds)} of CPU time" if self._cpu > self.cpu_seconds else ""


def duration(seconds: float) -> str:
    """Format a limit: minutes, or seconds below two minutes."""
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} s"
