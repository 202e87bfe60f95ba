"""Many training runs, several at once: each (subset, model, strategy, seed) is a process of scripts/train.py.

A run that is done is not repeated, one that was killed resumes, one that fails is reported and stops nothing.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvit import checkpoint
from medvit.errors import MedvitError

TRAIN = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


@dataclass
class Job:
    """One run; its checkpoint is `out`, its output `out` with the suffix .log."""

    subset: str
    model: str
    strategy: str
    seed: int
    out: Path
    state: str = "waiting"  # waiting, running, done, failed, out of time
    tries: int = 0
    note: str = ""
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def recipe(self) -> tuple[str, str]:
        """What the seeds of one recipe have in common: the subset, and the model with its strategy."""
        return self.subset, self.model if self.strategy == "full" else f"{self.model}-{self.strategy}"


def plan(
    subsets: Iterable[str], models: Iterable[str], strategies: Iterable[str], seeds: Iterable[int], root: Path
) -> list[Job]:
    """The jobs by priority: all of the first seed before any of the second, in the order given.

    Strategies multiply the pretrained model alone.
    """
    subsets, models, strategies = list(subsets), list(models), list(strategies)
    jobs = []
    for seed in seeds:
        for subset in subsets:
            for model in models:
                for strategy in strategies if model == "vit_finetuned" else ["full"]:
                    job = Job(subset, model, strategy, seed, Path())
                    job.out = root / f"seed{seed}" / subset / job.recipe[1]
                    jobs.append(job)
    return jobs


def run(
    jobs: list[Job],
    options: list[str],
    at_once: int,
    budget_seconds: float,
    show: Callable[[list[Job]], None] = lambda jobs: None,
    tries: int = 2,
) -> None:
    """Run the jobs, `at_once` at a time, until all are done or the time is up.

    Args:
        options: more arguments for scripts/train.py, the same for every job.
        show: called with the jobs about once a second.
        tries: how often a job is started before it counts as failed; it resumes where the last try stopped.

    When the time is up, what runs is ended; it resumes in the next campaign.
    """
    deadline = time.monotonic() + budget_seconds
    for job in jobs:
        if (job.out / "card.json").is_file():
            job.state = "done"
    try:
        while any(job.state in ("waiting", "running") for job in jobs):
            running = [job for job in jobs if job.state == "running"]
            for job in running:
                _look_after(job, tries)
            if time.monotonic() > deadline:
                break
            free = at_once - sum(job.state == "running" for job in jobs)
            for job in [job for job in jobs if job.state == "waiting"][:free]:
                _start(job, options)
            show(jobs)
            time.sleep(0.5)
    finally:
        for job in jobs:
            if job.process:
                job.process.terminate()
                job.process.wait()
            if job.state in ("waiting", "running"):
                job.state = "out of time"
        show(jobs)


def _start(job: Job, options: list[str]) -> None:
    job.out.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        str(TRAIN),
        "--subset",
        job.subset,
        "--model",
        job.model,
        "--strategy",
        job.strategy,
    ]
    command += ["--seed", str(job.seed), "--out", str(job.out), "--resume", *options]
    with _log(job).open("a") as log:
        job.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    job.state, job.tries = "running", job.tries + 1


def _look_after(job: Job, tries: int) -> None:
    lines = _log(job).read_text(errors="replace").splitlines() or [""]
    job.note = next((line for line in reversed(lines) if "eval_accuracy" in line), "")
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


def _log(job: Job) -> Path:
    return job.out.with_suffix(".log")


def summary(jobs: list[Job]) -> list[dict[str, Any]]:
    """For each recipe with a finished run: mean and standard deviation over seeds, and the best run.

    Returns:
        Rows of subset, model, seeds; accuracy, accuracy_sd, auc, auc_sd of the test split, NaN for one seed;
        `best`, the job with the highest validation accuracy, of equal ones that with the lower validation
        loss; and `all`, what the cards say of each seed.
    """
    recipes: dict[tuple[str, str], list[tuple[Job, dict[str, Any]]]] = {}
    for job in jobs:
        if job.state == "done":
            recipes.setdefault(job.recipe, []).append((job, json.loads((job.out / "card.json").read_text())))
    rows = []
    for (subset, model), runs in recipes.items():
        row: dict[str, Any] = {"subset": subset, "model": model, "seeds": len(runs)}
        for key in ("accuracy", "auc"):
            values = [card["test"][key] for _, card in runs]
            row[key] = statistics.fmean(values)
            row[f"{key}_sd"] = statistics.stdev(values) if len(values) > 1 else float("nan")
        row["best"] = max(runs, key=lambda r: (r[1]["validation"]["accuracy"], -r[1]["validation"]["loss"]))[
            0
        ]
        row["all"] = [seed for _, card in runs for seed in card["seeds"]]
        rows.append(row)
    return rows


def export(rows: list[dict[str, Any]], root: Path) -> list[Path]:
    """Copy the best run of each recipe to <root>/<subset>/<model>, its card listing every seed.

    Raises:
        MedvitError: a folder is there already, or a run is damaged.
    """
    written = []
    for row in rows:
        target = root / row["subset"] / row["model"]
        if target.exists():
            raise MedvitError(f"{target} exists already and is not overwritten. Export to another folder.")
        source = checkpoint.load(row["best"].out).folder
        with checkpoint.whole_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            card = json.loads((folder / "card.json").read_text()) | {"seeds": row["all"]}
            (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        written.append(target)
    return written
