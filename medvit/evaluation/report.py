"""Recompute a checkpoint's test figures from its weights, and write them where people look."""

import csv
import html
import re
from pathlib import Path
from typing import Any

import numpy as np

from medvit import plots
from medvit.checkpoint import Checkpoint, to_half
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import confusion, evaluate, probabilities
from medvit.files import atomic_file

COLUMNS = (
    "subset", "model", "source_size", "input_size", "interpolation", "parameters", "trained_on", "epochs",
    "seed", "seeds", "seeds_mean", "seeds_sd",
    "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "macro_precision",
    "macro_recall", "auc", "auc_low", "auc_high", "quadratic_kappa", "mean_absolute_error", "n",
)  # fmt: skip


def recompute(
    found: Checkpoint, data_root: str | Path | None = None
) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Run the shipped weights over the official test split.

    Returns:
        logits (N, C), float16 as stored in test.npz; the figures of `medvit.evaluation.metrics.evaluate`;
        and the features (N, D) that the classifier was given.

    Raises:
        MedvitError: the data are absent, or are not those that test.npz speaks of.
    """
    subset = found.subset
    images, labels = medmnist.load_split(subset.name, "test", found.card["source_size"], data_root)
    if not np.array_equal(labels, found.test_labels):
        raise MedvitError(
            f"The test split on disk is not the one that {found.folder}/test.npz speaks of: its labels "
            "differ. Fetch the official archive with scripts/download.py."
        )
    logits, features = predict(found.model, found.preprocessing, images)
    logits = to_half(logits)
    return logits, evaluate(logits, labels, subset.task, subset.classes), features


def row(found: Checkpoint, test: dict[str, Any]) -> dict[str, Any]:
    """One row of metrics.csv."""
    low, high = test["accuracy_interval"]
    auc_low, auc_high = test["auc_interval"]
    seeds = found.seed_accuracies or [test["accuracy"]]
    return (
        found.card
        | test
        | {"accuracy_low": low, "accuracy_high": high, "auc_low": auc_low, "auc_high": auc_high}
        | {"epochs": found.card["recipe"]["epochs"]}
        | {"seeds": len(seeds), "seeds_mean": np.mean(seeds)}
        | {"seeds_sd": np.std(seeds, ddof=1) if len(seeds) > 1 else ""}
    )


def update_csv(
    path: Path,
    rows: list[dict[str, Any]],
    columns: tuple[str, ...] = COLUMNS,
    keys: tuple[str, ...] = ("subset", "model"),
) -> None:
    """Put rows into a csv, each in place of an older one with the same `keys`; written whole."""
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


def write_html(found: Checkpoint, logits: np.ndarray, labels: np.ndarray, out: Path) -> Path:
    """Confusion matrix and ROC curves as one interactive page that loads nothing from outside."""
    subset = found.subset
    title = f"{subset.title} · {found.title}"
    parts = []
    if not subset.multi_label:
        parts.append(plots.confusion_matrix(confusion(logits, labels), subset.classes, "Confusion matrix"))
    scores = probabilities(logits, subset.multi_label)
    parts.append(plots.roc_curves(labels, scores, subset.classes, "ROC curves, each class against the rest"))
    body = "".join(part.to_html(full_html=False, include_plotlyjs=i == 0) for i, part in enumerate(parts))
    path = out / f"{subset.name}-{re.sub(r'[^a-z0-9_]+', '-', found.model_name)}.html"
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<body style="font-family:system-ui,sans-serif;max-width:60rem;margin:2rem auto">'
        f"<h1>{html.escape(title)}</h1>"
        f"<p>Official test split, {len(labels)} images. Research use only, not for "
        f"diagnosis.</p>{body}</body></html>"
    )
    return path
