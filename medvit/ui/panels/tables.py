"""Tables of the Test set tab as HTML: each class with its intervals, and ours beside published figures."""

import html
import math

from medvit.checkpoint import Checkpoint
from medvit.data import settings
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.per_class import per_class
from medvit.ui import parts
from medvit.ui.parts import class_name_html


def each_class(found: Checkpoint) -> str:
    """Precision, recall and F1 of each class with their intervals, its AUC and average precision."""
    scores = probabilities(found.test_logits, found.subset.multi_label)
    rows = "".join(
        f"<tr><th scope='row'>{class_name_html(one.name)}</th><td>{one.support:,}</td>"
        f"<td>{one.precision:.1%}{_span(one.precision_interval, '.1%')}</td>"
        f"<td>{one.recall:.1%}{_span(one.recall_interval, '.1%')}</td>"
        f"<td>{one.f1:.3f}{_span(one.f1_interval, '.3f')}</td>"
        f"<td>{_number(one.auc)}</td><td>{_number(one.average_precision)}</td></tr>"
        for one in per_class(found.test_labels, scores, found.subset.classes)
    )
    columns = ("images", "precision", "recall", "F1", "AUC", "average precision")
    note = (
        "In brackets 95 % intervals: Wilson's for precision and recall, 2,000 bootstrap draws "
        "of the test images "
        "for F1. They cover the test images drawn, not the luck of the seed."
    )
    return _table("Each class", columns, rows, note)


def beside_published(found: Checkpoint) -> str:
    """Test accuracy of this checkpoint beside what others have published for its subset."""
    card, test = found.card, found.card["test"]
    low, high = test["accuracy_interval"]
    enlarged = f"enlarged to {card['input_size']}; " if card["interpolation"] else ""
    rows = (
        f"<tr class='ours'><th scope='row'>{html.escape(found.title)}, this checkpoint</th>"
        f"<td>{card['parameters'] / 1e6:.1f} M</td><td>{card['source_size']}</td>"
        f"<td>{test['accuracy']:.1%} <span class='quiet'>({low:.1%} to {high:.1%})</span></td>"
        f"<td>{enlarged}{html.escape(str(card.get('selection', '')))}</td>"
        f"<td>{html.escape(str(card.get('hardware', '')))}</td></tr>"
    )
    rows += "".join(
        f"<tr><th scope='row'>{html.escape(one.model)}</th><td>{html.escape(one.parameters)}</td>"
        f"<td>{one.pixels}</td><td>{one.accuracy:.1%}</td><td>{html.escape(one.protocol)}</td>"
        f"<td>{html.escape(one.source)}</td></tr>"
        for one in settings.of(found.subset.name).published
    )
    share = max(one["support"] for one in test["per_class"].values()) / test["n"]
    if not found.subset.multi_label:
        rows += (
            f"<tr><th scope='row'>always the most frequent class</th><td></td><td></td><td>{share:.1%}</td>"
            "<td>no model at all</td><td>the labels of the test split</td></tr>"
        )
    columns = ("parameters", "source pixels", "test accuracy", "protocol", "source")
    note = (
        "Read with care: protocols differ, and a published figure rarely comes with an "
        "interval. The bracket is "
        "Wilson's 95 % interval."
    )
    return _table("Model", columns, rows, note, "published")


def _table(first: str, columns: tuple[str, ...], rows: str, note: str, kind: str = "") -> str:
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    table = parts.table(f"<th scope='col'>{first}</th>{head}", rows, kind)
    return f"{table}<p class='quiet small'>{note}</p>"


def _span(interval: tuple[float, float] | None, form: str) -> str:
    if interval is None:
        return ""
    return f" <span class='quiet'>({interval[0]:{form}} to {interval[1]:{form}})</span>"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
