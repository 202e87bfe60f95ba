"""Rewrite the generated tables of a document, between their markers, from the cards and results/*.csv.

medvit tables README.md
"""

import argparse
import csv
import re
import statistics
from pathlib import Path

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation.architectures import ablation_table, comparison_table
from medvit.evaluation.report import below_expected_coverage, results_table
from medvit.evaluation.robustness import MEAN
from medvit.explain import METHODS
from medvit.files import atomic_file
from medvit.ui import glossary

# Mean error over all corruptions: AlexNet (Di Salvo et al., 2024) and MedViTV2-S (Manzari et al., 2025).
PUBLISHED_ROBUSTNESS = {
    "bloodmnist": (0.112, 0.109),
    "breastmnist": (0.299, 0.163),
    "pathmnist": (0.277, 0.145),
    "retinamnist": (0.649, 0.478),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit tables`."""
    parser.add_argument(
        "file", type=Path, help="a Markdown file with markers such as <!-- results --> <!-- end -->"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="[results]")


def run(args: argparse.Namespace) -> None:
    """Rewrite one file."""
    try:
        text = args.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise MedvitError(f"{args.file} cannot be read ({reason}). Name a Markdown file.") from error
    text = fill(text, args.results)
    with atomic_file(args.file, "w", encoding="utf-8") as file:
        file.write(text)


def fill(text: str, results: Path) -> str:
    """Return Markdown with the content between `<!-- NAME -->` and `<!-- end -->` generated anew.

    Args:
        results: the folder of ablation.csv, faithfulness.csv, map_costs.csv and robustness.csv.

    Raises:
        MedvitError: a marker with an unknown name.
    """
    tables = {
        "results": _results,
        "architectures": lambda: comparison_table(_shipped()),
        "ablation": lambda: ablation_table(_read(results / "ablation.csv")),
        "coverage": _coverage,
        "maps": lambda: _maps(results),
        "robustness": lambda: _robustness(results),
        "glossary": glossary.markdown,
    }

    def generate(match: re.Match) -> str:
        if match[1] not in tables:
            raise MedvitError(f"There is no table {match[1]!r}. The tables are: {', '.join(tables)}.")
        return f"<!-- {match[1]} -->\n{tables[match[1]]()}<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", generate, text, flags=re.DOTALL)


def _shipped() -> list[Checkpoint]:
    """The shipped checkpoints; MedvitError where one is damaged, as it would silently leave the tables."""
    checkpoints, problems = checkpoint.discover()
    if problems:
        raise MedvitError(next(iter(problems.values())))
    return checkpoints


def _results() -> str:
    return results_table(_shipped())


def _coverage() -> str:
    """A list of the prediction sets that cover fewer test images than expected."""
    rows = below_expected_coverage(_shipped())
    by_dataset: dict[str, list[str]] = {}
    for dataset, model, level, coverage in rows:
        by_dataset.setdefault(f"{dataset} at {level:.0%}", []).append(f"{model} {coverage:.1%}")
    return "".join(f"- {dataset}: {', '.join(models)}\n" for dataset, models in by_dataset.items())


def _maps(results: Path) -> str:
    """One row for each explanation map: example, what it shows, cost, faithfulness."""
    costs = {row["method"]: row["forward_passes"] for row in _read(results / "map_costs.csv")}
    gains: dict[str, list[float]] = {}
    for row in _read(results / "faithfulness.csv"):
        if row["model"] != "cnn":
            gains.setdefault(row["method"], []).append(float(row["insertion_deletion_gain"]))
    lines = ["| | map | shows | cost | faithfulness |", "|---|---|---|---|---|"]
    for name, method in METHODS.items():
        image = f"![{method.title}](docs/maps/{name}.png)"
        cost = f"{costs[name]} x" if name in costs else "-"
        gain = f"{statistics.mean(gains[name]):+.2f}" if name in gains else "-"
        lines.append(f"| {image} | {method.title} `{name}` | {method.about} | {cost} | {gain} |")
    return "\n".join(lines) + "\n"


def _robustness(results: Path) -> str:
    """The mean error of the fine-tuned ViTs over all corruptions, beside published ones."""
    rows = [row for row in _read(results / "robustness.csv") if row["model"] == "vit_finetuned"]
    lines = [
        "| | fine-tuned ViT-Tiny, balanced | error rate | AlexNet at 224, balanced | MedViTV2-S at 224 |",
        "|---|---|---|---|---|",
    ]
    for name, published in PUBLISHED_ROBUSTNESS.items():
        own = [row for row in rows if row["subset"] == name and row["corruption"] != MEAN]
        means = [statistics.mean(float(row[key]) for row in own) for key in ("balanced_error", "error_rate")]
        cells = " | ".join(f"{value:.3f}" for value in (*means, *published))
        lines.append(f"| {medmnist.get(name).title} | {cells} |")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise MedvitError(f"There is no {path}. Name the folder of the results with --results.")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
