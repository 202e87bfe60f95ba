"""Run many processes, several at a time.

A job that is done is not repeated, one that was killed starts again, one that fails is reported and stops
nothing.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar


@dataclass
class Job:
    """One process. It is done when the file `result` exists; its output goes to `log`."""

    command: list[str] = field(default_factory=list)
    result: Path = Path()
    log: Path = Path()
    state: str = "waiting"  # waiting, running, done, failed, out of time
    tries: int = 0
    note: str = ""  # the last line of the log with metrics, or the error
    process: subprocess.Popen | None = field(default=None, repr=False)


J = TypeVar("J", bound=Job)


def training_command(options: Iterable[str]) -> list[str]:
    """Return the command that starts `medvit train` with this Python."""
    return [sys.executable, "-m", "medvit", "train", *options]


def run(
    jobs: Sequence[J],
    parallel: int = 1,
    budget_seconds: float = float("inf"),
    show: Callable[[Sequence[J]], None] = lambda jobs: None,
    tries: int = 2,
) -> None:
    """Run the jobs, `parallel` at a time, until all are done or the time is up; then stop those that run.

    Args:
        show: called with the jobs about twice a second.
        tries: how often a job is started before it counts as failed.
    """
    deadline = time.monotonic() + budget_seconds
    for job in jobs:
        if job.result.is_file():
            job.state = "done"
    try:
        while any(job.state in ("waiting", "running") for job in jobs):
            for job in jobs:
                if job.state == "running":
                    _update(job, tries)
            if time.monotonic() > deadline:
                break
            free = parallel - sum(job.state == "running" for job in jobs)
            for job in [job for job in jobs if job.state == "waiting"][:free]:
                _start(job, parallel)
            show(jobs)
            time.sleep(0.5)
    finally:
        for job in jobs:
            if job.process:
                job.process.terminate()
                job.process.wait()
                job.process = None
            if job.state in ("waiting", "running"):
                job.state = "out of time"
        show(jobs)


def _start(job: Job, parallel: int) -> None:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // parallel))}
    with job.log.open("a") as log:
        job.process = subprocess.Popen(  # noqa: S603
            job.command, stdout=log, stderr=subprocess.STDOUT, env=threads | os.environ
        )
    job.state, job.tries = "running", job.tries + 1


def _update(job: Job, tries: int) -> None:
    """Read the newest metrics from the log, and the end of the process."""
    lines = job.log.read_text(errors="replace").splitlines() or [""]
    job.note = next((line for line in reversed(lines) if "eval_loss" in line), "")
    assert job.process is not None
    if job.process.poll() is None:
        return
    if job.process.returncode == 0:
        job.state = "done"
    elif job.tries < tries:
        job.state = "waiting"
    else:
        job.state, job.note = "failed", lines[-1]
    job.process = None
