"""The confusion matrix as a component: each cell is a button, reached by mouse, finger and arrow keys.

Its value is what `render` or `render_difference` returns. A click on a cell that holds images triggers
`click` with `row` and `column`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medvit.data import short_name
from medvit.ui import html
from medvit.ui.components.base import component

FREQUENT = 10  # rows of the table of the most frequent errors
MAX_CLASSES = 60  # of a matrix that is displayed; each cell takes half a kilobyte


@dataclass(frozen=True)
class Cell:
    """One cell: its kind (hit, miss, more, fewer or same), a description, and whether a click shows images.

    `texts` and `tints` (0 to 1): by count, by row and by column.
    """

    kind: str
    description: str
    texts: tuple[str, str, str]
    tints: tuple[float, float]
    empty: bool


def confusion_matrix(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(matrix: np.ndarray, classes: tuple[str, ...]) -> str:
    """Counts (C, C), rows the true class, as a table of buttons, and a table of the most frequent errors."""
    by_row, by_column = _fractions(matrix)

    def cell(i: int, j: int) -> Cell:
        count = int(matrix[i, j])
        description = (
            f"true class {classes[i]}, predicted class {classes[j]}: {images(count)}, "
            f"{by_row[i, j]:.1%} of the true class, {by_column[i, j]:.1%} of the predicted class"
        )
        texts = (f"{count:,}", _percent(by_row[i, j], count), _percent(by_column[i, j], count))
        tints = (by_row[i, j], by_column[i, j])
        return Cell("hit" if i == j else "miss", description, texts, tints, not count)

    errors = matrix * ~np.eye(len(matrix), dtype=bool)
    rows = [
        (short_name(classes[i]), short_name(classes[j]), f"{errors[i, j]:,}", f"{by_row[i, j]:.1%}")
        for i, j in _largest(errors)
    ]
    columns = ("true class", "predicted class", "images", "of the true class")
    label = "Confusion matrix: rows are the true class, columns the predicted class"
    return _render(classes, cell, label, "Most frequent errors as a table", columns, rows)


def render_difference(
    matrix: np.ndarray, subtracted: np.ndarray, classes: tuple[str, ...], titles: tuple[str, str]
) -> str:
    """Counts (C, C) of one model minus those of another, as HTML; `titles` are those of the two models."""
    difference = matrix - subtracted
    (row_a, column_a), (row_b, column_b) = _fractions(matrix), _fractions(subtracted)
    by_row, by_column = row_a - row_b, column_a - column_b

    def cell(i: int, j: int) -> Cell:
        delta, counts = int(difference[i, j]), (int(matrix[i, j]), int(subtracted[i, j]))
        description = (
            f"true class {classes[i]}, predicted class {classes[j]}: {titles[0]} {images(counts[0])}, "
            f"{titles[1]} {images(counts[1])}, a difference of {_signed(delta)}"
        )
        texts = (_signed(delta), _points(by_row[i, j], delta), _points(by_column[i, j], delta))
        kind = "more" if delta > 0 else "fewer" if delta < 0 else "same"
        tints = (abs(by_row[i, j]), abs(by_column[i, j]))
        return Cell(kind, description, texts, tints, not any(counts))

    rows = [
        (short_name(classes[i]), short_name(classes[j]), f"{matrix[i, j]:,}", f"{subtracted[i, j]:,}",
         _signed(int(difference[i, j])))
        for i, j in _largest(np.abs(difference))
    ]  # fmt: skip
    columns = ("true class", "predicted class", *titles, "difference")
    label = f"Difference of two confusion matrices: {titles[0]} minus {titles[1]}"
    return _render(classes, cell, label, "Largest differences as a table", columns, rows)


def images(count: int) -> str:
    """A number of images in words."""
    return "1 image" if count == 1 else f"{count:,} images"


def _render(
    classes: tuple[str, ...],
    cell: Callable[[int, int], Cell],
    label: str,
    summary: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
) -> str:
    indices = range(len(classes) if len(classes) <= MAX_CLASSES else 0)
    cells = [[cell(i, j) for j in indices] for i in indices]
    table = html.table(columns, rows, "words", row_headings=False)
    return html.render(
        "confusion_matrix.html", classes=classes, cells=cells, label=label, summary=summary, table=table
    )


def _largest(counts: np.ndarray) -> list[tuple[int, int]]:
    """(row, column) of the FREQUENT largest counts, zeros left out."""
    order = np.argsort(-counts, axis=None, kind="stable")[:FREQUENT]
    pairs = (divmod(int(k), len(counts)) for k in order)
    return [(i, j) for i, j in pairs if counts[i, j]]


def _fractions(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The counts as fractions of their row and of their column."""
    by_row, by_column = (matrix / matrix.sum(axis, keepdims=True).clip(1) for axis in (1, 0))
    return by_row, by_column


def _percent(fraction: float, count: int) -> str:
    return f"{fraction:.0%}" if count else "0"


def _signed(number: int) -> str:
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}") if number else "0"


def _points(fraction: float, delta: int) -> str:
    """A difference of two fractions in percentage points."""
    return f"{100 * fraction:+.0f}".replace("-", "\N{MINUS SIGN}") if delta else "0"
