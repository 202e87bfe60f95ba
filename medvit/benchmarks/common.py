"""What all benchmarks share: a measurement, fair timing of several candidates, and a server to measure."""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORT_ROOT = Path(__file__).resolve().parents[2]  # `python -m medvit` works in this folder


@dataclass(frozen=True)
class Measurement:
    """One measured number. `target`: an upper bound, or a lower one if `at_least`; None: no target."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the value meets its target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def to_json(self) -> dict[str, Any]:
        """name, value, unit, target, holds."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "target": self.target,
            "holds": self.holds,
        }


def alternate(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each candidate in each round; they take turns, so that noise affects all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(-warm_up, rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, reference: str) -> float:
    """Median over the rounds of ours / reference."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[reference], strict=True))


@contextmanager
def server(*program: str, log: Path | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run `python PROGRAM --port N`; yields its address once it has served a page, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, *program, "--port", str(port)]
    with (log or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=IMPORT_ROOT, stdout=output, stderr=output, env=environment
        )
        try:
            while not _serves(address):
                if process.poll() is not None:
                    raise SystemExit(f"The server ended before its first page: {' '.join(command)[:200]}")
                time.sleep(0.02)
            yield address, process
        finally:
            process.terminate()
            process.wait(30)


def _serves(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=60) as page:
            return page.status == 200
    except OSError:
        return False
