"""Many training runs, several at once: each (subset, model, strategy, seed) is a process of scripts/train.py.

A run that is done is not repeated, one that was killed resumes, one that fails is reported and stops nothing.
"""

import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medvit import checkpoint, files
from medvit.data import settings
from medvit.errors import MedvitError
from medvit.reliability import measure

TRAIN = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


@dataclass
class Job:
    """One run; its checkpoint is `out`, its output `out` with the suffix .log."""

    subset: str
    model: str
    strategy: str
    seed: int
    out: Path
    variant: str = ""  # more options of scripts/train.py
    state: str = "waiting"  # waiting, running, done, failed, out of time
    tries: int = 0
    note: str = ""
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def recipe(self) -> tuple[str, str]:
        """What its seeds have in common: the subset, and the model with strategy and variant."""
        parts = [self.model, *re.findall(r"[\w.]+", self.variant)]
        if self.strategy != "full":
            parts.insert(1, self.strategy)
        return self.subset, "-".join(parts)


def plan(
    subsets: Iterable[str],
    models: Iterable[str],
    strategies: Iterable[str],
    seeds: int | None,
    root: Path,
    variants: Iterable[str] = ("",),
) -> list[Job]:
    """The jobs by priority: all of the first seed before any of the second, in the order given.

    Strategies multiply the pretrained model alone, variants everything.

    Args:
        seeds: how many; None: as many as the subset's test split needs, see `medvit.data.settings`.
        variants: each more options of scripts/train.py, which make a recipe of their own.
    """
    subsets, models, strategies, variants = map(list, (subsets, models, strategies, variants))
    counts = {subset: seeds or settings.of(subset).seeds for subset in subsets}
    jobs = []
    for seed in range(max(counts.values())):
        for subset in [subset for subset in subsets if seed < counts[subset]]:
            for model in models:
                for strategy in strategies if model == "vit_finetuned" else ["full"]:
                    for variant in variants:
                        job = Job(subset, model, strategy, seed, Path(), variant)
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
                _start(job, options, at_once)
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


def _start(job: Job, options: list[str], at_once: int) -> None:
    job.out.parent.mkdir(parents=True, exist_ok=True)
    named = dict(subset=job.subset, model=job.model, strategy=job.strategy, seed=job.seed, out=job.out)
    command = [sys.executable, str(TRAIN), *(f"--{name}={value}" for name, value in named.items())]
    command += ["--resume", "--no-trust", *options, *shlex.split(job.variant)]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))}
    with _log(job).open("a") as log:
        job.process = subprocess.Popen(  # noqa: S603
            command, stdout=log, stderr=subprocess.STDOUT, env=threads | os.environ
        )
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
        Rows of subset, model (with strategy and variant), base (the model alone), seeds; for validation and
        test, accuracy and auc: the mean as ``test_accuracy``, the standard deviation as ``test_accuracy_sd``,
        NaN for one seed; seconds, the mean training time; `best`, the job with the highest validation
        accuracy, of equal ones that with the lower validation loss; `all`, what the cards say of each seed;
        and `weights`, the sha256 of each seed's.
    """
    recipes: dict[tuple[str, str], list[tuple[Job, dict[str, Any]]]] = {}
    for job in jobs:
        if job.state == "done":
            recipes.setdefault(job.recipe, []).append((job, json.loads((job.out / "card.json").read_text())))
    rows = []
    for (subset, model), runs in recipes.items():
        row: dict[str, Any] = {"subset": subset, "model": model, "base": runs[0][0].model, "seeds": len(runs)}
        for split in ("validation", "test"):
            for key in ("accuracy", "auc"):
                values = [card[split][key] for _, card in runs]
                row[f"{split}_{key}"] = statistics.fmean(values)
                row[f"{split}_{key}_sd"] = statistics.stdev(values) if len(values) > 1 else math.nan
        row["seconds"] = statistics.fmean(card["seconds"] for _, card in runs)
        row["best"] = max(runs, key=lambda r: (r[1]["validation"]["accuracy"], -r[1]["validation"]["loss"]))[
            0
        ]
        row["weights"] = {card["sha256"] for _, card in runs}
        row["all"] = [seed for _, card in runs for seed in card["seeds"]]
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """The rows of `summary` as a Markdown table, accuracies in per cent."""
    lines = [
        "| subset | recipe | seeds | validation | test | test, each seed | test AUC | seconds a run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["subset"], row["model"], row["seeds"]]
        for split in ("validation", "test"):
            spread = f" ± {100 * row[f'{split}_accuracy_sd']:.2f}" if row["seeds"] > 1 else ""
            cells.append(f"{100 * row[f'{split}_accuracy']:.2f}{spread}")
        cells.append(" ".join(f"{100 * seed['test_accuracy']:.2f}" for seed in row["all"]))
        cells += [f"{row['test_auc']:.4f}", f"{row['seconds']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def export(
    rows: list[dict[str, Any]], root: Path, data_root: str | Path | None = None, trust: bool = True
) -> list[Path]:
    """Copy the best run of each subset and model to <root>/<subset>/<model>, its card listing every seed.

    Of several recipes for a model, the one with the highest mean validation accuracy is taken, and of its
    seeds the best on validation. What an earlier part of the same campaign exported is replaced.

    Args:
        trust: fit trust.npz of each, which its runs leave out, as it takes longer than many of them.

    Raises:
        MedvitError: a folder with another model is there already, or a run is damaged.
    """
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["validation_accuracy"]):
        chosen[row["subset"], row["base"]] = row
    written = []
    for (subset, model), row in sorted(chosen.items()):
        target = root / subset / model
        weights = set().union(*(one["weights"] for one in rows))
        if target.exists() and checkpoint.load(target).card["sha256"] not in weights:
            raise MedvitError(f"{target} exists already and is not overwritten. Export to another folder.")
        source = checkpoint.load(row["best"].out).folder
        with files.atomic_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            card = json.loads((folder / "card.json").read_text()) | {"seeds": row["all"]}
            checkpoint.write_card(folder, card)
            if trust:
                device = "cuda" if torch.cuda.is_available() else "cpu"
                measure.complete(folder, data_root, device)
            shutil.rmtree(target, ignore_errors=True)
        written.append(target)
    return written
