"""Attacks on a real server: its memory, and the waiting time of an honest visitor meanwhile."""

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medvit.benchmarks.attacks import ATTACKS
from medvit.benchmarks.client import REQUEST_ERRORS, Client
from medvit.benchmarks.common import Measurement, server
from medvit.benchmarks.computing_attacks import COMPUTING_ATTACKS, noise_picture
from medvit.benchmarks.processes import resident_megabytes

ALL_ATTACKS = ATTACKS | COMPUTING_ATTACKS
SUBSET, MODEL = "bloodmnist", "vit_finetuned"
IDLE_PREDICTIONS = 10
PAUSE_SECONDS = 0.2  # of the visitor between two predictions
GIVE_UP_SECONDS = 60
RECOVERY_SECONDS = 30
RETURNED = 1.2  # x idle memory
PEAK_MEGABYTES = 1500  # above idle


@dataclass
class _Watch:
    """What is measured while the block runs: memory in MB at even intervals, the waits of a visitor in s."""

    address: str
    pid: int
    picture: bytes = field(default_factory=noise_picture)
    memory: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    answers: int = 0
    refusals: int = 0

    def __enter__(self) -> "_Watch":
        self._ended = threading.Event()
        self._asked = time.perf_counter()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._sample, self._visit)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS)
            if thread.is_alive():  # the visitor still waits for an answer
                self.waits.append(time.perf_counter() - self._asked)

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            self.memory.append(resident_megabytes(self.pid))

    def _visit(self) -> None:
        while not self._ended.is_set():
            started = self._asked = time.perf_counter()
            while not self._predict():
                self.refusals += 1
                if time.perf_counter() - started > GIVE_UP_SECONDS:
                    break
                time.sleep(PAUSE_SECONDS)
            else:
                self.answers += 1
            self.waits.append(time.perf_counter() - started)
            self._ended.wait(PAUSE_SECONDS)

    def _predict(self) -> bool:
        try:
            Client(self.address, SUBSET, MODEL, GIVE_UP_SECONDS).ask("predict", self.picture)
        except REQUEST_ERRORS:
            return False
        return True


def measure(names: list[str], seconds: float) -> Iterator[Measurement]:
    """Yield the measurements of each attack on one server.

    Args:
        names: keys of ALL_ATTACKS.
        seconds: duration of each attack.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with server("-m", "medvit", "app", "--preload", log=log) as (address, process):
            idle, idle_wait = _idle(address, process.pid)
            yield Measurement("hostile/idle memory", idle, "MB")
            yield Measurement("hostile/idle wait", idle_wait, "s")
            for name in names:
                logged = _tracebacks(log)
                watch = _attacked(address, process.pid, ALL_ATTACKS[name], seconds)
                after = _memory_after(process.pid, RETURNED * idle)
                peak, wait = max(watch.memory) - idle, max(watch.waits)
                yield Measurement(f"hostile/{name}/peak memory", peak, "MB above idle", PEAK_MEGABYTES)
                yield Measurement(f"hostile/{name}/longest wait", wait, "s", 3 * idle_wait + 2)
                yield Measurement(f"hostile/{name}/answers", watch.answers, "answers", 1, at_least=True)
                yield Measurement(f"hostile/{name}/refusals", watch.refusals, "of the visitor's requests", 0)
                yield Measurement(f"hostile/{name}/memory within 30 s", after / idle, "x idle", RETURNED)
                yield Measurement(f"hostile/{name}/tracebacks", _tracebacks(log) - logged, "", 0)


def _idle(address: str, pid: int) -> tuple[float, float]:
    """Memory in MB after some predictions, and the median wait for one in seconds."""
    with _Watch(address, pid) as watch:
        while len(watch.waits) < IDLE_PREDICTIONS:
            time.sleep(0.1)
    return resident_megabytes(pid), statistics.median(watch.waits[1:])


def _attacked(address: str, pid: int, attack: Callable[..., None], seconds: float) -> _Watch:
    attacker = multiprocessing.get_context("spawn").Process(target=attack, args=(address, seconds))
    with _Watch(address, pid) as watch:
        attacker.start()
        attacker.join(seconds + GIVE_UP_SECONDS)
        attacker.kill()
    return watch


def _memory_after(pid: int, enough: float) -> float:
    """Memory in MB as soon as it is `enough`, after RECOVERY_SECONDS at the latest."""
    end = time.monotonic() + RECOVERY_SECONDS
    while (memory := resident_megabytes(pid)) > enough and time.monotonic() < end:
        time.sleep(0.5)
    return memory


def _tracebacks(log: Path) -> int:
    """How many tracebacks a log contains, with or without their first line."""
    lines = log.read_text(errors="replace").splitlines()
    frames = [line.startswith("  ") for line in lines]
    starts = zip(lines, [False, *frames], strict=False)
    return sum(line.startswith('  File "') and not before for line, before in starts)
