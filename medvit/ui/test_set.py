"""The Test set tab: what a checkpoint said on the official test split, and the images behind each number.

Everything but the pictures comes from test.npz and card.json, so it needs no dataset on disk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np

from medvit import figures
from medvit.checkpoint import Checkpoint
from medvit.evaluation import select
from medvit.evaluation.metrics import confusion, probabilities
from medvit.ui import cases, parts, tables
from medvit.ui.cases import Selection
from medvit.ui.confusion_matrix import confusion_matrix, images, render, render_difference
from medvit.ui.gallery import gallery
from medvit.ui.split_map import points, split_map
from medvit.ui.store import Store

ALONE = ""  # in the picker of the model compared with
NOBODY = ("no other model", ALONE)
NO_MATRIX = "<p>An image of this subset can have several labels, so there is no confusion matrix.</p>"
NO_MAP = (
    "There is no map in this checkpoint. With the data on disk, "
    "`python scripts/evaluate.py {folder} --map` makes it."
)


@dataclass(frozen=True)
class TestSet:
    """What the pickers above the tabs call.

    `fill(subset, model)` gives what `outputs` are to show. `opened`: listeners to a picture being opened;
    their gr.EventData has `index`, that of the test image.
    """

    __test__ = False  # pytest: not a test

    fill: Callable
    outputs: list
    opened: tuple[Callable, ...]


def build(store: Store, subset: gr.Dropdown, model: gr.Dropdown) -> TestSet:
    """Lay out the tab, and connect what happens inside it."""
    selection = gr.State(Selection())
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            matrix = confusion_matrix(elem_id="matrix")
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_id="shortcuts"):
                other = gr.Dropdown([NOBODY], value=ALONE, label="Compare with", min_width=150)
                with gr.Column(min_width=150):
                    worst = gr.Button("Worst mistakes", size="sm")
                    differing = gr.Button("Where they disagree", size="sm", interactive=False)
            pictures = gallery(elem_id="cell")
    tiles = gr.HTML(min_height=96)
    with gr.Tabs(elem_id="details"):
        with gr.Tab("ROC"):
            roc = gr.Plot(show_label=False, container=False)
        with gr.Tab("Precision-recall"):
            precision_recall = gr.Plot(show_label=False, container=False)
        with gr.Tab("Each class"):
            classes = gr.HTML()
        with gr.Tab("Map"):
            no_map = gr.Markdown(visible=False)
            plane = split_map(elem_id="map")
            gr.HTML(
                "<p class='quiet small'>Each point is a test image, placed by t-SNE so that "
                "images alike to the model "
                "lie together. Only neighbourhoods mean something; distances between groups do not. "
                "A click opens the image.</p>"
            )
        with gr.Tab("Learning curve"):
            learning = gr.Plot(show_label=False, container=False)
        with gr.Tab("Published figures"):
            published = gr.HTML()
    gr.HTML(f"<p class='quiet'>{parts.DISCLAIMER}</p>")

    @lru_cache(128)
    def unchanging(subset: str, model: str) -> tuple:
        """What depends on the checkpoint alone: drawn once."""
        found = store.checkpoint(subset, model)
        scores = probabilities(found.test_logits, found.subset.multi_label)
        curve = (found.test_labels, scores, found.subset.classes)
        drawn = _map(found, scores)
        return (
            parts.figures(found),
            figures.roc_curves(*curve),
            figures.precision_recall_curves(*curve),
            tables.each_class(found),
            gr.Markdown(NO_MAP.format(folder=found.folder), visible=drawn is None),
            gr.HTML(drawn or {}, visible=drawn is not None),
            figures.learning_curve(found.card["history"]),
            tables.beside_published(found),
            _matrix(found, None),
        )

    @parts.plain_errors
    def fill(subset, model):
        found = store.checkpoint(subset, model)
        rivals = [] if found.subset.multi_label else store.model_choices(subset)
        picker = gr.Dropdown([NOBODY, *(one for one in rivals if one[1] != model)], value=ALONE)
        shown = cases.page(store, subset, model, None, Selection())
        return (
            picker,
            gr.Button("Where they disagree", interactive=False),
            Selection(),
            shown,
            *unchanging(subset, model),
        )

    @parts.plain_errors
    def compare(subset, model, other):
        found = store.checkpoint(subset, model)
        if other == ALONE:
            alone = unchanging(subset, model)[-1]
            return (
                alone,
                gr.Button("Where they disagree", interactive=False),
                *show(subset, model, other, Selection()),
            )
        rival = store.checkpoint(subset, other)
        chosen = Selection("disagreements")
        count = len(select.disagreements(found.test_logits, rival.test_logits))
        button = gr.Button(f"Where they disagree: {images(count)}", interactive=True)
        return _matrix(found, rival), button, *show(subset, model, other, chosen)

    @parts.plain_errors
    def show(subset, model, other, chosen: Selection, number: int = 0):
        return chosen, cases.page(store, subset, model, other or None, chosen, number)

    def show_cell(subset, model, other, event: gr.EventData):
        return show(subset, model, other, Selection("cell", int(event.row), int(event.column)))

    def show_mistakes(subset, model, other):
        return show(subset, model, other, Selection())

    def show_disagreements(subset, model, other):
        return show(subset, model, other, Selection("disagreements"))

    def turn(subset, model, other, chosen: Selection, event: gr.EventData):
        return show(subset, model, other, chosen, int(event.number))[1]

    quick: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
    asked, answered = [subset, model, other], [selection, pictures]
    other.select(compare, asked, [matrix, differing, *answered], **quick)
    matrix.click(show_cell, asked, answered, **quick)
    worst.click(show_mistakes, asked, answered, **quick)
    differing.click(show_disagreements, asked, answered, **quick)
    pictures.turn(turn, [*asked, selection], pictures, **quick)
    outputs = [
        other, differing, *answered, tiles, roc, precision_recall, classes, no_map, plane, learning,
        published, matrix,
    ]  # fmt: skip
    return TestSet(fill, outputs, (pictures.select, plane.select))


def _matrix(found: Checkpoint, rival: Checkpoint | None) -> str:
    """The matrix of a checkpoint, or its difference from that of another."""
    if found.subset.multi_label:
        return NO_MATRIX
    counts = confusion(found.test_logits, found.test_labels)
    if rival is None:
        return render(counts, found.subset.classes)
    others = confusion(rival.test_logits, rival.test_labels)
    return render_difference(counts, others, found.subset.classes, (found.title, rival.title))


def _map(found: Checkpoint, scores: np.ndarray) -> dict[str, Any] | None:
    """The value of the map; an image with several labels is only told from one without any."""
    if found.test_map is None:
        return None
    labels, classes = found.test_labels, found.subset.classes
    if not found.subset.multi_label:
        guess = scores.argmax(1)
        return points(found.test_map, labels, guess, guess == labels, scores.max(1), classes)
    right = ((scores > 0.5) == labels).all(1)
    any_label, any_guess = labels.max(1), (scores > 0.5).max(1)
    return points(found.test_map, any_label, any_guess, right, scores.max(1), ("no label", "some label"))
