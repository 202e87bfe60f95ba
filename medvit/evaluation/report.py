"""Recompute the test metrics of checkpoints from their weights, and write them as csv, HTML and Markdown."""

import csv
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvit import plots
from medvit.checkpoint import Checkpoint, to_half
from medvit.data import how_to_get, load_split
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import confusion, evaluate, probabilities
from medvit.evaluation.one_vs_rest import roc_curves
from medvit.files import atomic_file
from medvit.models import NAMES
from medvit.templates import environment

COLUMNS = (
    "subset", "model", "source_size", "input_size", "interpolation", "parameters", "trained_on", "epochs",
    "seed", "seeds", "seeds_mean", "seeds_sd",
    "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "macro_precision",
    "macro_recall", "auc", "auc_low", "auc_high", "quadratic_kappa", "mean_absolute_error", "n",
)  # fmt: skip
TEMPLATES = Path(__file__).with_name("templates")


def recompute(
    checkpoint: Checkpoint, data_root: str | Path | None = None
) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Run the weights of a checkpoint over the official test split.

    Returns:
        logits (N, C), float16 as in test.npz; the metrics of `medvit.evaluation.metrics.evaluate`; and the
        features (N, D), the input of the classifier.

    Raises:
        MedvitError: the data are absent, or are not those of test.npz.
    """
    dataset = checkpoint.dataset
    images, labels = load_split(dataset, "test", checkpoint.card["source_size"], data_root)
    if not np.array_equal(labels, checkpoint.test_labels):
        raise MedvitError(
            f"The test split on disk is not that of {checkpoint.folder}/test.npz: the labels differ. "
            f"Get it with `{how_to_get(dataset, checkpoint.card['source_size'])}`."
        )
    logits, features = predict(checkpoint.model, checkpoint.preprocessing, images)
    logits = to_half(logits)
    return logits, evaluate(logits, labels, dataset.task, dataset.classes), features


def csv_row(checkpoint: Checkpoint, test: dict[str, Any]) -> dict[str, Any]:
    """One row of metrics.csv."""
    accuracy_low, accuracy_high = test["accuracy_interval"]
    auc_low, auc_high = test["auc_interval"] or ("", "")
    seeds = checkpoint.seed_accuracies or [test["accuracy"]]
    return {
        **checkpoint.card,
        **test,
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "auc_low": auc_low,
        "auc_high": auc_high,
        "epochs": checkpoint.card["recipe"]["epochs"],
        "seeds": len(seeds),
        "seeds_mean": np.mean(seeds),
        "seeds_sd": np.std(seeds, ddof=1) if len(seeds) > 1 else "",
    }


def update_csv(
    path: Path,
    rows: Iterable[dict[str, Any]],
    columns: Sequence[str] = COLUMNS,
    keys: Sequence[str] = ("subset", "model"),
) -> None:
    """Write rows into a csv atomically, each in place of an older one with the same `keys`."""
    kept = {}
    if path.is_file():
        with path.open(newline="") as file:
            kept = {tuple(old[key] for key in keys): old for old in csv.DictReader(file)}
    for new in rows:
        text = {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in new.items()}
        kept[tuple(str(new[key]) for key in keys)] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept[key] for key in sorted(kept))


def write_html(checkpoint: Checkpoint, logits: np.ndarray, labels: np.ndarray, out: Path) -> Path:
    """Write confusion matrix and ROC curves as one interactive page that loads nothing from outside."""
    dataset = checkpoint.dataset
    probs = probabilities(logits, dataset.multi_label)
    title = "ROC curves, each class against the rest"
    plotly_figures = [plots.roc_curves(roc_curves(labels, probs, dataset.classes), title)]
    if not dataset.multi_label:
        matrix = plots.confusion_matrix(confusion(logits, labels), dataset.classes, "Confusion matrix")
        plotly_figures.insert(0, matrix)
    page = environment(TEMPLATES).get_template("report.html").render(
        title=f"{dataset.title} · {checkpoint.title}",
        images=len(labels),
        own=dataset.own,
        plots=[
            each.to_html(full_html=False, include_plotlyjs=i == 0) for i, each in enumerate(plotly_figures)
        ],
    )  # fmt: skip
    path = out / f"{dataset.name}-{re.sub(r'[^a-z0-9_]+', '-', checkpoint.model_name)}.html"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")
    return path


def results_table(checkpoints: Iterable[Checkpoint]) -> str:
    """Test accuracy of checkpoints in per cent as a Markdown table.

    One row a dataset, one column a model, and the best published accuracy at the same source size. A cell
    has mean ± standard deviation over the seeds of the recipe, then the shipped seed with its 95 % Wilson
    interval. Everything is rounded once, from the cards.
    """
    cells: dict[str, dict[str, Checkpoint]] = {}
    for checkpoint in checkpoints:
        cells.setdefault(checkpoint.dataset.name, {})[checkpoint.model_name] = checkpoint
    models = [name for name in NAMES if any(name in row for row in cells.values())]
    heads = [next(_head(row[name]) for row in cells.values() if name in row) for name in models]
    lines = [f"| | {' | '.join(heads)} | published |", "|" + "---|" * (len(models) + 2)]
    for row in cells.values():
        dataset = next(iter(row.values())).dataset
        published = [f"{100 * result.accuracy:.1f}" for result in dataset.settings.published[:1]]
        accuracies = [_accuracy(row[model]) if model in row else "–" for model in models]
        lines.append(f"| {' | '.join([dataset.title, *accuracies, *(published or ['–'])])} |")
    return "\n".join(lines) + "\n"


def _head(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.title}, {checkpoint.card['parameters'] / 1e6:.1f} M"


def _accuracy(checkpoint: Checkpoint) -> str:
    test = checkpoint.card["test"]
    low, high = (f"{100 * limit:.1f}" for limit in test["accuracy_interval"])
    shipped = f"{100 * test['accuracy']:.1f} ({low} to {high})"
    seeds = checkpoint.seed_accuracies
    if len(seeds) < 2:
        return f"one seed: {shipped}"
    mean, spread = 100 * statistics.fmean(seeds), 100 * statistics.stdev(seeds)
    return f"**{mean:.1f} ± {spread:.1f}**, {len(seeds)} seeds; shipped {shipped}"


def below_expected_coverage(checkpoints: Iterable[Checkpoint]) -> list[tuple[str, str, float, float]]:
    """The checkpoints whose prediction sets cover fewer test images than expected, at each such level.

    Returns:
        (dataset title, model title, level, coverage on the test split) of each, by dataset and level.
    """
    rows = [
        (checkpoint.dataset.title, checkpoint.title, float(level), measured["coverage"])
        for checkpoint in checkpoints
        for level, measured in _levels(checkpoint).items()
        if measured.get("below_expected")
    ]
    return sorted(rows, key=lambda row: (row[0], row[2]))


def _levels(checkpoint: Checkpoint) -> dict[str, Any]:
    section = checkpoint.card.get("trust", {}).get("prediction_sets") or {}
    return section.get("levels", {})
