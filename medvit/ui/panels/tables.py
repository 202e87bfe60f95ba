"""Tables of the Test set tab: metrics of each class, and test accuracy beside published results."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from medvit.checkpoint import Checkpoint
from medvit.data import settings
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.one_vs_rest import per_class
from medvit.text import interval
from medvit.ui import html
from medvit.ui.html import Cell


@dataclass(frozen=True)
class Table:
    """A table as data: headings ("" is an empty corner), rows of cells, and a note below it.

    `highlight` is the number of a row that stands out; `css` names more CSS classes.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    title: str = ""
    highlight: int | None = None
    css: str = ""


def render(*tables: Table) -> Markup:
    """Render tables as HTML, one section each."""
    return html.render("tables.html", tables=tables)


def with_interval(value: float, limits: Iterable[float] | None, form: str = ".1%") -> Cell:
    """Return a cell with a value and, subdued, its interval in brackets."""
    return (f"{value:{form}}", f"({interval(limits, form)})") if limits else f"{value:{form}}"


def per_class_table(checkpoint: Checkpoint) -> Table:
    """Precision, recall and F1 of each class with their intervals, its AUC and its average precision."""
    probs = probabilities(checkpoint.test_logits, checkpoint.dataset.multi_label)
    rows = [
        (
            html.class_name(metrics.name),
            f"{metrics.support:,}",
            with_interval(metrics.precision, metrics.precision_interval),
            with_interval(metrics.recall, metrics.recall_interval),
            with_interval(metrics.f1, metrics.f1_interval, ".3f"),
            _number(metrics.auc),
            _number(metrics.average_precision),
        )
        for metrics in per_class(checkpoint.test_labels, probs, checkpoint.dataset.classes)
    ]
    return Table(
        ("class", "images", "precision", "recall", "F1", "AUC", "average precision"),
        rows,
        "In brackets: 95 % intervals, Wilson's for precision and recall, from 2,000 bootstrap samples of the "
        "test images for F1. They cover the choice of test images, not that of the training seed.",
    )


def published_table(checkpoint: Checkpoint) -> Table:
    """Test accuracy of this checkpoint beside published results for its dataset."""
    card, test = checkpoint.card, checkpoint.card["test"]
    verb = "enlarged" if card["input_size"] > card["source_size"] else "reduced"
    resized = f"{verb} to {card['input_size']}; " if card["interpolation"] else ""
    rows: list[Sequence[Cell]] = [
        (
            f"{checkpoint.title}, this checkpoint",
            f"{card['parameters'] / 1e6:.1f} M",
            str(card["source_size"]),
            with_interval(test["accuracy"], test["accuracy_interval"]),
            f"{resized}{card['selection']}",
            str(card["hardware"]),
        )
    ]
    rows += [
        (
            result.model,
            result.parameters,
            str(result.pixels),
            f"{result.accuracy:.1%}",
            result.protocol,
            result.source,
        )
        for result in settings.of(checkpoint.dataset.name).published
    ]
    if not checkpoint.dataset.multi_label:
        most_frequent = max(metrics["support"] for metrics in test["per_class"].values()) / test["n"]
        name, source = "always the most frequent class", "the labels of the test split"
        rows.append((name, "", "", f"{most_frequent:.1%}", "no model", source))
    return Table(
        ("model", "parameters", "source pixels", "test accuracy", "protocol", "source"),
        rows,
        "Read with care: protocols differ, and published results rarely come with an interval. In brackets: "
        "Wilson's 95 % interval.",
        highlight=0,
        css="published",
    )


def metric_tiles(checkpoint: Checkpoint) -> Markup:
    """Render the main metrics of the test split as tiles."""
    test = checkpoint.card["test"]
    seeds = checkpoint.seed_accuracies
    spread = ""
    if len(seeds) > 1:
        spread = f"; {len(seeds)} seeds {np.mean(seeds):.1%} ± {np.std(seeds, ddof=1):.1%}"
    auc = f"{interval(test['auc_interval'], '.3f')} (DeLong)" if test.get("auc_interval") else ""
    averaged = (
        "recall and specificity of the labels" if checkpoint.dataset.multi_label else "recall of the classes"
    )
    tiles = [
        ("accuracy", f"{test['accuracy']:.1%}", f"{interval(test['accuracy_interval'])}{spread}"),
        ("balanced accuracy", f"{test['balanced_accuracy']:.1%}", f"mean {averaged}"),
        ("macro F1", f"{test['macro_f1']:.3f}", "mean of the classes"),
        ("AUC", f"{test['auc']:.3f}", auc),
    ]
    if "quadratic_kappa" in test:
        tiles += [
            ("quadratic kappa", f"{test['quadratic_kappa']:.3f}", "ordinal agreement"),
            ("mean absolute error", f"{test['mean_absolute_error']:.2f}", "grades"),
        ]
    return html.render("metric_tiles.html", tiles=tiles)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
