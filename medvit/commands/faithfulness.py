"""Measure how faithful each kind of explanation map is, for each checkpoint.

medvit faithfulness --all

Writes the metrics into each card.json, where the app reads them, and all of them to faithfulness.csv in
results/, or in runs/results/ for checkpoints that are not the shipped ones.
With --methods, those of the other maps stay, and as many images are used as for them.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medvit import checkpoint, explain
from medvit.argument_types import at_least
from medvit.checkpoint import Checkpoint
from medvit.commands.evaluate import results_folder
from medvit.data import evenly_spaced, load_split
from medvit.errors import MedvitError
from medvit.evaluation import report
from medvit.explain import faithfulness
from medvit.imaging import to_tensor

KEYS = ("subset", "model", "method")
METRICS = (
    "insertion_deletion_gain", "insertion_deletion_gain_se", "deletion", "random_deletion", "insertion",
    "random_insertion", "road", "randomization_similarity",
)  # fmt: skip
COLUMNS = (*KEYS, "images", *METRICS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit faithfulness`."""
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="checkpoint folders")
    add("--all", action="store_true", help="every shipped checkpoint")
    add(
        "--images",
        type=at_least(1),
        default=50,
        help="test images for each, spread evenly over the split [%(default)s]",
    )
    add(
        "--methods",
        nargs="+",
        choices=explain.METHODS,
        metavar="MAP",
        help=f"of {', '.join(explain.METHODS)} [all that the model has]",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="the table [results/faithfulness.csv for the shipped checkpoints, runs/results/faithfulness.csv "
        "for others]",
    )


def run(args: argparse.Namespace) -> None:
    """Measure each checkpoint, and update its card and the table."""
    checkpoints, problems = checkpoint.discover() if args.all else ([], {})
    for problem in problems.values():
        print(f"medvit faithfulness: left out: {problem}", file=sys.stderr)
    folders = [*args.folders, *(item.folder for item in checkpoints)]
    if not folders:
        raise MedvitError("Name at least one checkpoint folder, or --all.")
    for folder in tqdm(folders, unit="checkpoint"):
        item = checkpoint.load(folder)
        section = _measure(item, args)
        checkpoint.write_card(item.folder, item.card | {"explanations": section})
        out = args.out or results_folder(item.folder) / "faithfulness.csv"
        report.update_csv(out, rows(item, section), COLUMNS, KEYS)


def _measure(item: Checkpoint, args: argparse.Namespace) -> dict[str, Any]:
    """{"images": how many, "methods": {name: metrics}} of one checkpoint."""
    explainer = explain.Explainer(item.model, item.preprocessing)
    known = item.card.get("explanations") if args.methods else None
    for name in args.methods or ():
        explainer.check_method(name)
    images, _ = load_split(item.dataset, "test", item.card["source_size"], args.data_root)
    count = known["images"] if known else args.images
    chosen = evenly_spaced(images, count)
    measured = faithfulness.measure(explainer, to_tensor(chosen), args.methods or explainer.methods())
    methods = (known["methods"] if known else {}) | measured
    return {"images": len(chosen), "methods": methods}


def rows(item: Checkpoint, section: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of faithfulness.csv, from the section "explanations" of a card."""
    return [
        {"subset": item.dataset.name, "model": item.model_name, "method": name, "images": section["images"]}
        | {key: f"{metrics[key]:.4f}" for key in METRICS}
        for name, metrics in section["methods"].items()
    ]
