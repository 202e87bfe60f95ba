"""The confusion matrix as a component: each cell a button, reached by mouse, finger and arrow keys.

Its value is what `render` or `render_difference` gives. A click on a cell that holds images triggers
`click` with `row` and `column`.
"""

import html
from pathlib import Path

import gradio as gr
import numpy as np

from medvit.data.medmnist import short_name
from medvit.ui.components.base import component

FREQUENT = 10  # rows of the text table of mistakes


def confusion_matrix(**options) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(matrix: np.ndarray, classes: tuple[str, ...]) -> str:
    """Counts (C, C), rows the truth, as HTML: a table of buttons, and the most frequent mistakes in words."""
    by_row, by_column = _shares(matrix)

    def cell(i: int, j: int) -> str:
        count = int(matrix[i, j])
        hover = (
            f"truth {classes[i]}, the model says {classes[j]}: {images(count)}, "
            f"{by_row[i, j]:.1%} of this truth, {by_column[i, j]:.1%} of these answers"
        )
        texts = (f"{count:,}", _percent(by_row[i, j], count), _percent(by_column[i, j], count))
        return _cell(i, j, "hit" if i == j else "miss", hover, texts, (by_row[i, j], by_column[i, j]), count)

    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    order = [divmod(int(k), len(matrix)) for k in np.argsort(-wrong, axis=None, kind="stable")[:FREQUENT]]
    rows = "".join(
        f"<tr><td>{_name(classes[i])}</td><td>{_name(classes[j])}</td><td>{wrong[i, j]:,}</td>"
        f"<td>{by_row[i, j]:.1%}</td></tr>"
        for i, j in order
        if wrong[i, j]
    )
    head = "<th scope='col'>truth</th><th scope='col'>the model says</th><th scope='col'>images</th>"
    text = _details("The most frequent mistakes in words", f"{head}<th scope='col'>of this truth</th>", rows)
    return _table(classes, cell, "Confusion matrix: rows the truth, columns what the model says") + text


def render_difference(
    matrix: np.ndarray, other: np.ndarray, classes: tuple[str, ...], titles: tuple[str, str]
) -> str:
    """Counts of one model less those of another, both (C, C), as HTML; `titles` names the two."""
    difference = matrix - other
    (row_a, column_a), (row_b, column_b) = _shares(matrix), _shares(other)
    by_row, by_column = row_a - row_b, column_a - column_b

    def cell(i: int, j: int) -> str:
        delta = int(difference[i, j])
        hover = (
            f"truth {classes[i]}, said {classes[j]}: {titles[0]} {images(int(matrix[i, j]))}, {titles[1]} "
            f"{images(int(other[i, j]))}, a difference of {_signed(delta)}"
        )
        texts = (_signed(delta), _points(by_row[i, j], delta), _points(by_column[i, j], delta))
        kind = "more" if delta > 0 else "fewer" if delta < 0 else "same"
        probs = (abs(by_row[i, j]), abs(by_column[i, j]))
        return _cell(i, j, kind, hover, texts, probs, int(matrix[i, j] + other[i, j]))

    order = np.argsort(-np.abs(difference), axis=None, kind="stable")[:FREQUENT]
    rows = "".join(
        f"<tr><td>{_name(classes[i])}</td><td>{_name(classes[j])}</td><td>{matrix[i, j]:,}</td>"
        f"<td>{other[i, j]:,}</td><td>{_signed(int(difference[i, j]))}</td></tr>"
        for i, j in (divmod(int(k), len(matrix)) for k in order)
        if difference[i, j]
    )
    columns = ("truth", "said", *titles, "difference")
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in columns)
    text = _details("The largest differences in words", head, rows)
    label = f"Difference of two confusion matrices: {titles[0]} less {titles[1]}"
    return _table(classes, cell, label) + text


def images(count: int) -> str:
    """A count in words."""
    return "1 image" if count == 1 else f"{count:,} images"


def _shares(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tuple(matrix / matrix.sum(axis, keepdims=True).clip(1) for axis in (1, 0))  # type: ignore[return-value]


def _percent(share: float, count: int) -> str:
    return f"{share:.0%}" if count else "0"


def _signed(number: int) -> str:
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}") if number else "0"


def _points(share: float, delta: int) -> str:
    return f"{100 * share:+.0f}".replace("-", "\N{MINUS SIGN}") if delta else "0"


def _name(name: str) -> str:
    return html.escape(short_name(name))


def _cell(
    i: int, j: int, kind: str, hover: str, texts: tuple[str, ...], probs: tuple[float, float], count: int
) -> str:
    # Square root: one image in a hundred must still be seen.
    tints = "".join(f"--{name}:{s**0.5:.3f};" for name, s in zip(("row", "column"), probs, strict=True))
    spans = "".join(
        f"<span class='{view}'>{text}</span>"
        for view, text in zip(("counts", "by-row", "by-column"), texts, strict=True)
    )
    words, empty = html.escape(hover, quote=True), "" if count else " aria-disabled='true'"
    return (
        f"<td class='{kind}' style='{tints}'><button type='button' tabindex='{0 if i == j == 0 else -1}' "
        f"data-row='{i}' data-column='{j}' aria-label='{words}'{empty}>{spans}</button>"
        "</td>"
    )


def _table(classes: tuple[str, ...], cell, label: str) -> str:
    head = "".join(
        f"<th scope='col' title='{html.escape(name, quote=True)}'><span>{_name(name)}</span></th>"
        for name in classes
    )
    body = "".join(
        f"<tr><th scope='row' title='{html.escape(name, quote=True)}'>{_name(name)}</th>"
        + "".join(cell(i, j) for j in range(len(classes)))
        + "</tr>"
        for i, name in enumerate(classes)
    )
    return (
        f"<div class='wide'><table class='cells' aria-label='{html.escape(label, quote=True)}'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _details(summary: str, head: str, rows: str) -> str:
    return (
        f"<details><summary>{summary}</summary><div class='wide'><table class='words'><thead><tr>{head}</tr>"
        f"</thead><tbody>{rows}</tbody></table></div></details>"
    )
