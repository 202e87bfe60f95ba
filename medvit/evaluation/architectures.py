"""Tables that compare models from scratch with one recipe and the same seeds: architectures, ablation."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy import stats

from medvit.checkpoint import Checkpoint
from medvit.data import medmnist
from medvit.models import TITLES

ARCHITECTURES = ("cnn", "vit", "spt_lsa")
NEITHER = "neither: plain ViT"  # the reference in ablation.csv
MAY_DIFFER = {"learning_rate", "image_size"}  # between recipes of equal budget


def same_budget(recipes: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether recipes differ in nothing but the learning rate and the input size."""
    rest = [{key: value for key, value in recipe.items() if key not in MAY_DIFFER} for recipe in recipes]
    return all(recipe == rest[0] for recipe in rest)


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of the paired differences, and its 95 % interval from Student's t distribution.

    Args:
        values, reference: one value a seed, at least two, in the same order of seeds.
    """
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    margin = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return mean, mean - margin, mean + margin


def comparison_table(checkpoints: Iterable[Checkpoint]) -> str:
    """Return a Markdown table of test accuracy and AUC of the models from scratch.

    One row for each dataset whose three models share the recipe, over the seeds that they share. Differences
    are of SPT-LSA from the plain ViT and from the CNN in points of accuracy, paired over seeds; a single seed
    has no interval.
    """
    by_dataset: dict[str, dict[str, Checkpoint]] = {}
    for checkpoint in checkpoints:
        by_dataset.setdefault(checkpoint.dataset.title, {})[checkpoint.model_name] = checkpoint
    columns = [
        "",
        "epochs",
        "seeds",
        *(TITLES[name] for name in ARCHITECTURES),
        "SPT-LSA - ViT",
        "SPT-LSA - CNN",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for title, models in by_dataset.items():
        if row := _row({name: models[name] for name in ARCHITECTURES if name in models}):
            lines.append(f"| {' | '.join([title, *row])} |")
    if len(lines) == 2:
        return "No dataset has all three models with one recipe and a common seed yet.\n"
    return "\n".join(lines) + "\n"


def _row(models: Mapping[str, Checkpoint]) -> list[str]:
    """The cells of one dataset; none where the models cannot be compared."""
    cards = [checkpoint.card for checkpoint in models.values()]
    if len(models) < len(ARCHITECTURES) or not same_budget(card["recipe"] for card in cards):
        return []
    runs = {name: {run["seed"]: run for run in models[name].card.get("seeds", [])} for name in ARCHITECTURES}
    seeds = sorted(set.intersection(*(set(each) for each in runs.values())))
    if not seeds:
        return []
    accuracy = {name: [each[seed]["test_accuracy"] for seed in seeds] for name, each in runs.items()}
    cells = [str(cards[0]["recipe"]["epochs"]), str(len(seeds))]
    for name, each in runs.items():
        auc = statistics.fmean(each[seed]["test_auc"] for seed in seeds)
        cells.append(f"{_mean_cell(accuracy[name])}, AUC {auc:.3f}")
    cells += [_difference_cell(accuracy["spt_lsa"], accuracy[reference]) for reference in ("vit", "cnn")]
    return cells


def ablation_table(rows: Iterable[Mapping[str, str]]) -> str:
    """Return a Markdown table of the variants of SPT-LSA, from the rows of ablation.csv.

    One row for each dataset and variant. Differences are from the variant with neither part, in points of
    test accuracy, paired over seeds.
    """
    rows = list(rows)
    accuracy = {
        (row["subset"], row["recipe"]): [float(value) / 100 for value in row["test_each_seed"].split()]
        for row in rows
    }
    columns = ["", "variant", "seeds", "test accuracy", "AUC", "difference from neither"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        subset, variant = row["subset"], row["recipe"]
        values = accuracy[subset, variant]
        difference = "" if variant == NEITHER else _difference_cell(values, accuracy[subset, NEITHER])
        lines.append(
            f"| {medmnist.get(subset).title} | {variant} | {len(values)} | "
            f"{_mean_cell(values)} | {float(row['test_auc']):.3f} | {difference} |"
        )
    return "\n".join(lines) + "\n"


def _mean_cell(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent; of a single value only that."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread}"


def _difference_cell(values: Sequence[float], reference: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{100 * (values[0] - reference[0]):+.1f}"
    mean, low, high = paired_difference(values, reference)
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
