"""Plan many training runs, compare their recipes, and export the best.

Each run is a process of `medvit train`, see `medvit.training.jobs`.
"""

import json
import math
import re
import shlex
import shutil
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medvit import checkpoint, files
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist, settings
from medvit.errors import MedvitError
from medvit.evaluation import robustness
from medvit.reliability import measure
from medvit.training.jobs import Job, training_command

JPEG_AGREEMENT = 0.97  # the fraction of validation images whose class has to survive being saved as JPEG


@dataclass
class SweepJob(Job):
    """One training run of a sweep, or one fold of its cross-validation.

    `variant`: the options of `medvit train` that make this recipe differ. `number`: the seed, or the fold.
    """

    subset: str = ""
    model: str = ""
    variant: str = ""
    number: int = 0

    @property
    def recipe(self) -> str:
        """A name for the model with its variant, which all seeds share; safe in paths."""
        return "-".join([self.model, *re.findall(r"[\w.]+", self.variant)])

    @property
    def options(self) -> list[str]:
        """The options of `medvit train`."""
        return self.command[len(training_command([])) :]

    def set_command(self, result: Path, out: Path, options: Sequence[str]) -> "SweepJob":
        """Set the command: `medvit train` that writes `out`, where the file `result` says that it is done."""
        self.result, self.log = result, out.with_name(f"{out.name}.log")
        names = [f"--model={self.model}", f"--seed={self.number}", f"--out={out}"]
        if self.subset in medmnist.names():  # other pictures are named by --data among the options
            names.insert(0, f"--subset={self.subset}")
        # The names are last, so that the options, which may come from a card, cannot change the folder.
        self.command = training_command([*options, *names, "--resume", "--no-trust"])
        return self


Combination = tuple[str, str, str]  # subset, model, variant


def combine(
    subsets: Iterable[str], models: Iterable[str], strategies: Iterable[str], variants: Iterable[str]
) -> list[Combination]:
    """Return what a sweep trains; strategies multiply the pretrained model alone, variants everything.

    Args:
        variants: further options of `medvit train`, each of which makes a recipe of its own.
    """
    models, strategies, variants = list(models), list(strategies), list(variants)
    result = []
    for subset in subsets:
        for model in models:
            for strategy in strategies if model == "vit_finetuned" else ["full"]:
                for variant in variants:
                    prefix = "" if strategy == "full" else f"--strategy {strategy}"
                    result.append((subset, model, f"{prefix} {variant}".strip()))
    return result


def plan(
    combinations: Sequence[Combination],
    seeds: int | None,
    root: Path,
    options: Sequence[str] = (),
    extended: Path | None = None,
) -> list[SweepJob]:
    """Return the training runs by priority: the first seed of everything before the second of anything.

    Args:
        seeds: how many; None: as many as the dataset's test split needs, see `medvit.data.settings`.
        options: options of `medvit train` for all runs.
        extended: checkpoints, <extended>/<subset>/<model>, that count as finished runs: each stands for all
            seeds that its card lists. One without a command in its card, which no single run made, does not.

    Raises:
        MedvitError: one of these checkpoints is damaged.
    """
    jobs = []
    for subset, model, variant in combinations:
        numbers = set(range(seeds or settings.of(subset).seeds))
        kept = _card(extended, subset, model)
        if kept:
            numbers = numbers - {run["seed"] for run in kept["seeds"]} | {kept["seed"]}
        for seed in numbers:
            job = SweepJob(subset=subset, model=model, variant=variant, number=seed)
            out = root / f"seed{seed}" / subset / job.recipe
            if extended and kept and seed == kept["seed"]:
                out = extended / subset / model
            jobs.append(job.set_command(out / "card.json", out, [*options, *shlex.split(variant)]))
    return sorted(jobs, key=lambda job: job.number)


def _card(root: Path | None, subset: str, model: str) -> dict[str, Any] | None:
    """The card of the checkpoint <root>/<subset>/<model>; None where there is none that a single run made."""
    folder = root and root / subset / model
    card = checkpoint.load(folder).card if folder and folder.is_dir() else {}
    return card if "command" in card else None


def plan_folds(
    combinations: Sequence[Combination], folds: int, repeats: int, root: Path, options: Sequence[str] = ()
) -> list[SweepJob]:
    """Return the runs of a repeated cross-validation, see `medvit.training.cross_validation`."""
    jobs = []
    for fold in range(folds * repeats):
        for subset, model, variant in combinations:
            job = SweepJob(subset=subset, model=model, variant=variant, number=fold)
            out = root / f"folds{folds}" / subset / job.recipe / f"fold{fold}.json"
            jobs.append(
                job.set_command(out, out, [f"--fold={fold}/{folds}", *options, *shlex.split(variant)])
            )
    return jobs


def card_command(item: Checkpoint, data: str | None = None) -> str | None:
    """Return the command in a card, with its own pictures at `data`; None where no single run makes it."""
    command = item.card.get("command")
    if not command or not data or not item.dataset.own:
        return command
    words = shlex.split(command)
    place = words.index("--data") + 1 if "--data" in words else len(words)
    return shlex.join([*words[:place], data, *words[place + 1 :]])


def plan_reproduction(
    checkpoints: Iterable[Checkpoint], root: Path, options: Sequence[str] = (), data: str | None = None
) -> list[SweepJob]:
    """Return the runs that make checkpoints again from the commands in their cards, below `root`.

    Checkpoints without a command, which no single run makes, are left out.

    Args:
        data: where one's own pictures are, in place of what the cards say.
    """
    jobs = []
    for item in checkpoints:
        if command := card_command(item, data):
            job = SweepJob(subset=item.dataset.name, model=item.model_name, number=item.card["seed"])
            out = root / job.subset / job.model
            jobs.append(job.set_command(out / "card.json", out, [*shlex.split(command)[2:], *options]))
    return jobs


def summary(jobs: Iterable[SweepJob]) -> list[dict[str, Any]]:
    """Return means and standard deviations over seeds, and the best run, of each recipe with finished runs.

    A card that lists several seeds counts as a run of each of them.

    Returns:
        Rows of subset, recipe, model, seeds (how many); for validation and test, accuracy, auc and loss: the
        mean as ``test_accuracy``, the standard deviation as ``test_accuracy_sd``, NaN for one seed; seconds,
        the mean training time; `ranked`, the jobs by validation log-loss, the lowest first; `runs`, the
        metrics of each seed; and `weights`, the sha256 of each seed's.
    """
    recipes: dict[tuple[str, str], list[tuple[SweepJob, dict[str, Any]]]] = {}
    for job in jobs:
        if job.state == "done":
            card = json.loads(job.result.read_text())
            recipes.setdefault((job.subset, job.recipe), []).append((job, card))
    rows = []
    for (subset, recipe), finished in recipes.items():
        runs = sorted((run for _, card in finished for run in card["seeds"]), key=lambda run: run["seed"])
        row: dict[str, Any] = {
            "subset": subset,
            "recipe": recipe,
            "model": finished[0][0].model,
            "seeds": len(runs),
        }
        for split in ("validation", "test"):
            for key in ("accuracy", "auc", "loss"):
                values = [run[f"{split}_{key}"] for run in runs]
                row[f"{split}_{key}"] = statistics.fmean(values)
                row[f"{split}_{key}_sd"] = statistics.stdev(values) if len(values) > 1 else math.nan
        row["seconds"] = statistics.fmean(card["seconds"] for _, card in finished)
        row["ranked"] = [job for job, _ in sorted(finished, key=lambda run: run[1]["validation"]["loss"])]
        row["weights"] = {card["sha256"] for _, card in finished}
        row["runs"] = runs
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """Return the rows of `summary` as a Markdown table, accuracies in per cent."""
    columns = (
        "subset", "recipe", "seeds", "validation log-loss", "validation", "test", "test, each seed",
        "test AUC", "seconds a run",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [row["subset"], row["recipe"], row["seeds"], f"{row['validation_loss']:.4f}"]
        for split in ("validation", "test"):
            spread = f" ± {100 * row[f'{split}_accuracy_sd']:.2f}" if row["seeds"] > 1 else ""
            cells.append(f"{100 * row[f'{split}_accuracy']:.2f}{spread}")
        cells.append(" ".join(f"{100 * run['test_accuracy']:.2f}" for run in row["runs"]))
        cells += [f"{row['test_auc']:.4f}", f"{row['seconds']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def export(
    rows: list[dict[str, Any]], root: Path, data_root: str | Path | None = None, trust: bool = True
) -> list[Path]:
    """Copy the best run of each subset and model to <root>/<subset>/<model>, its card listing every seed.

    Of several recipes for a model, the one with the lowest mean validation log-loss is taken; of its seeds,
    the one with the lowest whose predictions withstand JPEG, see `robustness.jpeg_agreement`, or of all where
    none do. What an earlier part of the same sweep exported is replaced.

    Args:
        trust: fit trust.npz of each, which the runs leave out because it takes longer than many of them.

    Raises:
        MedvitError: a folder with another model exists already, a run is damaged, or the data are absent.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: -row["validation_loss"]):
        best[row["subset"], row["model"]] = row
    weights: set[str] = set().union(*(row["weights"] for row in rows))
    written = []
    for (subset, model), row in sorted(best.items()):
        target = root / subset / model
        if target.exists() and checkpoint.load(target).card["sha256"] not in weights:
            raise MedvitError(f"{target} exists already and is not overwritten. Export to another folder.")
        source = _best(row["ranked"], data_root).folder
        with files.atomic_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            card = json.loads((folder / "card.json").read_text()) | {"seeds": row["runs"]}
            checkpoint.write_card(folder, card)
            if trust:
                device = "cuda" if torch.cuda.is_available() else "cpu"
                measure.fit_and_measure(folder, data_root, device)
            shutil.rmtree(target, ignore_errors=True)
        written.append(target)
    return written


def _best(ranked: Sequence[SweepJob], data_root: str | Path | None) -> Checkpoint:
    """The first of the runs whose predictions withstand JPEG; the first of all where none does."""
    runs = (checkpoint.load(job.result.parent) for job in ranked)
    steady = (run for run in runs if robustness.jpeg_agreement(run, data_root) >= JPEG_AGREEMENT)
    return next(steady, None) or checkpoint.load(ranked[0].result.parent)
