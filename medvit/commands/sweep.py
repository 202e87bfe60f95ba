"""Train many models and seeds, several at once; compare recipes; reproduce checkpoints.

medvit sweep --subsets breastmnist retinamnist --seeds 5 --budget-minutes 60
medvit sweep --jobs 8 --budget-minutes 28 --export best            # on a GPU
medvit sweep --cross-validate 5 --repeats 2 --subsets breastmnist --models spt_lsa \\
    --variants '' '--set patch_dropout=0.5' --report cross_validation.csv
medvit sweep --extend checkpoints --subsets bloodmnist --seeds 5 --export best   # the seeds that are missing
medvit sweep --reproduce checkpoints                               # prints the commands; --run runs them

Run the same command again to go on where it stopped; results of other settings in --out are refused. Any
other option goes to `medvit train`.
"""

import argparse
import json
import re
import signal
import statistics
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from medvit import checkpoint, models
from medvit.argument_types import at_least
from medvit.checkpoint import Checkpoint
from medvit.commands import train
from medvit.commands.dataset_options import DATA_HELP, add_size, data_option, open_requested, source_size
from medvit.data import medmnist
from medvit.data.folder import open_dataset
from medvit.errors import MedvitError
from medvit.training import cross_validation, jobs, sweep
from medvit.training.sweep import SweepJob

FOLD_METRICS = (  # name, column of `cross_validation.COLUMNS`, key in the result of a fold
    ("log-loss", "log_loss", "loss"),
    ("calibrated log-loss", "calibrated_log_loss", "calibrated_loss"),
    ("AUC", "auc", "auc"),
)

OWN_OPTIONS = {
    "--seed": "Name their number with --seeds.",
    "--model": "Name them with --models.",
    "--subset": "Name them with --subsets.",
    "--fold": "Name their number with --cross-validate.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit sweep`."""
    parser.set_defaults(unknown=[])  # filled with the options for `medvit train`
    group = parser.add_argument_group("what to train")
    add = group.add_argument
    add(
        "--subsets",
        nargs="+",
        choices=medmnist.names(),
        metavar="S",
        help="[the five; with --reproduce, all]",
    )
    add(
        "--data",
        metavar="FOLDER",
        help=f"instead of --subsets, or, with --reproduce, of the folder in the cards: {DATA_HELP}",
    )
    add_size(group)
    add("--models", nargs="+", choices=models.NAMES, metavar="M", help="[all four]")
    add("--strategies", nargs="+", help="for vit_finetuned, see `medvit train` [full]")
    add(
        "--variants",
        nargs="+",
        metavar="OPTIONS",
        help="make a recipe of each of these options of `medvit train`. An ablation: --models spt_lsa "
        "--variants '' '--set spt=false' '--set lsa=false' '--set spt=false lsa=false'. Learning rates: "
        "--variants '--learning-rate 5e-4' '--learning-rate 1e-3'",
    )
    add(
        "--seeds",
        type=at_least(1),
        help="seeds 0 to N-1 [from the settings of the dataset, 2 to 5]",
    )
    add(
        "--extend",
        type=Path,
        metavar="DIR",
        help="do not train the seeds that the cards of the checkpoints below DIR list; the report and "
        "--export have those and the new ones",
    )
    add(
        "--cross-validate",
        type=at_least(2),
        metavar="K",
        help="compare recipes by K-fold cross-validation over training and validation images, in place of "
        "training checkpoints; we recommend it where the validation split is small",
    )
    add("--repeats", type=at_least(1), help="of the cross-validation, each with other folds [1]")
    add(
        "--reproduce",
        type=Path,
        metavar="DIR",
        help="print the commands that make the checkpoints below DIR from nothing, with what they reached",
    )
    add(
        "--run",
        action="store_true",
        help="with --reproduce: run them, and compare the results with the cards",
    )
    _add_run(parser.add_argument_group("how to run it"))


def _add_run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--jobs",
        type=at_least(1),
        default=1,
        help="processes side by side; 8 small models share one large GPU well [1]",
    )
    add(
        "--budget-minutes",
        type=float,
        default=float("inf"),
        help="stop then; what runs resumes next time [none]",
    )
    add("--out", type=Path, default=Path("runs/sweep"), help="folder of all runs [%(default)s]")
    add(
        "--export",
        type=Path,
        metavar="DIR",
        help="copy the best run to DIR/<subset>/<model>: of the recipe with the lowest mean validation "
        "log-loss, the seed with the lowest whose predictions withstand JPEG",
    )
    add(
        "--no-trust",
        action="store_true",
        help="export without trust.npz; `medvit evaluate --all --fit --checkpoints DIR` makes it later",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="write the table of all recipes as Markdown; with --cross-validate as csv, where rows of the "
        "same dataset, model and variant are replaced",
    )


def run(args: argparse.Namespace) -> int:
    """Train, cross-validate or reproduce; 1 where a run failed."""
    _check(args)
    options = list(args.unknown)
    if args.data_root:
        options += ["--data-root", args.data_root]
    options += _data_options(args)
    if args.reproduce:
        return _reproduce(args, options)
    combinations = sweep.combine(
        args.subsets or medmnist.MAIN,
        args.models or models.NAMES,
        args.strategies or ["full"],
        args.variants or [""],
    )
    if args.cross_validate:
        if args.report:
            cross_validation.read_csv(args.report)  # before hours of training
        planned = sweep.plan_folds(combinations, args.cross_validate, args.repeats or 1, args.out, options)
        _run_jobs(planned, args)
        _report_folds(planned, args.report)
    else:
        planned = sweep.plan(combinations, args.seeds, args.out, options, args.extend)
        _run_jobs(planned, args)
        _report_runs(planned, args)
    return _status(planned)


def _check(args: argparse.Namespace) -> None:
    """Raise a MedvitError where options do not go together."""
    if args.reproduce:
        _refuse(args, "--reproduce", ("strategies", "variants", "seeds", "extend", "cross_validate"))
        _refuse(args, "--reproduce", ("export", "report"))
    elif args.run:
        raise MedvitError("--run belongs to --reproduce DIR.")
    if args.cross_validate:
        _refuse(args, "--cross-validate", ("seeds", "extend", "export"))
    elif args.repeats:
        raise MedvitError("--repeats belongs to --cross-validate K.")
    if args.extend is not None and not args.extend.is_dir():
        raise MedvitError(f"There is no folder {args.extend}.")
    if args.report is not None and args.report.is_dir():
        raise MedvitError(f"{args.report} is a folder. Name a file with --report.")
    for word in args.unknown:
        if (name := word.partition("=")[0]) in OWN_OPTIONS:
            raise MedvitError(f"A sweep sets {name} of its runs itself. {OWN_OPTIONS[name]}")


def _refuse(args: argparse.Namespace, option: str, names: Sequence[str]) -> None:
    """Raise a MedvitError where one of these options was given beside `option`."""
    for name in names:
        if getattr(args, name) is not None:
            raise MedvitError(f"--{name.replace('_', '-')} has no meaning with {option}.")


def _data_options(args: argparse.Namespace) -> list[str]:
    """The options of `medvit train` that name pictures and source size; pictures are prepared before."""
    options = [] if args.size is None else ["--size", str(args.size)]
    if args.skip_unreadable:
        options.append("--skip-unreadable")
    if args.data and not args.reproduce:
        args.subsets = [open_requested(args).name]
        options.append(data_option(args.data))
    return options


def _check_jobs(planned: Sequence[SweepJob]) -> None:
    """Raise a MedvitError where `medvit train` does not take the options of a job.

    Also where a result that exists already is of a run with other settings.
    """
    opened = cache(open_dataset)
    for job in planned:
        args = train.parse(job.options)
        train.parse_recipe(args)
        if job.result.is_file():
            if args.data:
                dataset = opened(
                    args.data, source_size(args), skip_unreadable=args.skip_unreadable, announce=False
                )
            else:
                dataset = medmnist.get(args.subset)
            expected, actual = train.describe_run(args, dataset), json.loads(job.result.read_text())
            expected.pop("command", None)  # it repeats the recipe
            expected, actual = (facts | facts.pop("recipe") for facts in (expected, actual))
            if names := [name for name, value in expected.items() if actual.get(name) != value]:
                raise MedvitError(
                    f"{job.result} is of a run with other settings ({', '.join(names)}). Choose another "
                    "--out or --extend, or move it away."
                )


def _run_jobs(planned: list[SweepJob], args: argparse.Namespace) -> None:
    """Run the jobs; a SIGTERM stops them as the end of the budget does."""
    _check_jobs(planned)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedvitError(
            f"{args.out} cannot be written ({error.strerror}). Choose another --out."
        ) from error
    before = signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("medvit sweep: stopped; run it again to go on")
    )
    try:
        jobs.run(planned, args.jobs, args.budget_minutes * 60, LiveTable())
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(planned: Sequence[SweepJob]) -> int:
    return 1 if any(job.state == "failed" for job in planned) else 0


def table(planned: Sequence[SweepJob]) -> list[str]:
    """Return one line for each job."""
    lines = [f"{'subset':15} {'recipe':30} {'':4} state"]
    for job in planned:
        metrics = re.search(r"eval_loss': '?([\d.]+).*'epoch': '?([\d.]+)", job.note)
        note = f"epoch {metrics[2]}, validation log-loss {metrics[1]}" if metrics else job.note[:60]
        lines.append(f"{job.subset:15} {job.recipe:30} {job.number:4} {job.state:12} {note}")
    return lines


class LiveTable:
    """Prints the table where it changed: all of it in a terminal, only the new lines into a log."""

    def __init__(self) -> None:
        self.last: list[str] = []

    def __call__(self, planned: Sequence[SweepJob]) -> None:
        lines = table(planned)
        if sys.stdout.isatty() and lines != self.last:
            print("\x1b[H\x1b[2J" + "\n".join(lines), flush=True)
        else:
            for line in lines:
                if line not in self.last:
                    print(line, flush=True)
        self.last = lines


def _report_runs(planned: list[SweepJob], args: argparse.Namespace) -> None:
    rows = sweep.summary(planned)
    print(f"\n{sweep.report(rows)}", end="")
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(sweep.report(rows), "utf-8")
    if args.export:
        for folder in sweep.export(rows, args.export, args.data_root, trust=not args.no_trust):
            print(f"Wrote {folder}")


def _report_folds(planned: Sequence[SweepJob], path: Path | None) -> None:
    """Print a row for each variant and its difference from the first one of its model, on the same folds."""
    results: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for job in planned:
        if job.state == "done":
            key = (job.subset, job.model, job.variant)
            results.setdefault(key, []).append(json.loads(job.result.read_text()))
    rows = []
    first: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (subset, model, variant), folds in results.items():
        row = cross_validation.row(model, variant, folds)
        rows.append(row)
        means = (f"{name} {row[key]:.4f} ± {row[f'{key}_se']:.4f}" for name, key, _ in FOLD_METRICS)
        line = f"{subset} {model} {variant}: {', '.join(means)}, accuracy {row['accuracy']:.4f}"
        reference = first.setdefault((subset, model), folds)
        if reference is not folds:
            differences = (
                f"{name} {cross_validation.difference(folds, reference, key)}"
                for name, _, key in FOLD_METRICS
            )
            line += f"; difference from the first: {', '.join(differences)}"
        print(line)
    if path:
        cross_validation.update_csv(path, rows)


def _reproduce(args: argparse.Namespace, options: list[str]) -> int:
    checkpoints, problems = checkpoint.discover(args.reproduce)
    for problem in problems.values():
        print(f"medvit sweep: left out: {problem}", file=sys.stderr)
    checkpoints = [
        item
        for item in checkpoints
        if (not args.subsets or item.dataset.name in args.subsets)
        and (not args.models or item.model_name in args.models)
    ]
    if not checkpoints:
        raise MedvitError(f"There is no usable checkpoint below {args.reproduce}{_chosen(args)}.")
    for item in checkpoints:
        place = f"{item.dataset.name}/{item.model_name}"
        command = sweep.card_command(item, args.data) or f"# {place}: not reproducible by one command"
        print(f"{command}\n#   {place}: {_reached(item)}")
    if not args.run:
        return 0
    planned = sweep.plan_reproduction(checkpoints, args.out / "reproduced", options, args.data)
    _run_jobs(planned, args)
    cards = {(item.dataset.name, item.model_name): item for item in checkpoints}
    for job in planned:
        if job.state == "done":
            accuracy = json.loads(job.result.read_text())["test"]["accuracy"]
            item = cards[job.subset, job.model]
            print(f"{job.subset}/{job.model}: reproduced {accuracy:.4f}; the card: {_reached(item)}")
    return _status(planned)


def _chosen(args: argparse.Namespace) -> str:
    names = [*(args.subsets or ()), *(args.models or ())]
    return f" for {', '.join(names)}" if names else ""


def _reached(item: Checkpoint) -> str:
    """The test accuracy of a checkpoint, and of all seeds."""
    text = f"test accuracy {item.card['test']['accuracy']:.4f}"
    accuracies = item.seed_accuracies
    if len(accuracies) < 2:
        return text
    mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
    return f"{text}, {len(accuracies)} seeds {mean:.4f} ± {spread:.4f}"
