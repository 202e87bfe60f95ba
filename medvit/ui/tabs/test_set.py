"""The Test set tab: what a checkpoint said on the official test split, and the images behind each number.

Everything but the pictures comes from test.npz and card.json, so it needs no dataset on disk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit.checkpoint import Checkpoint
from medvit.evaluation import selection as select
from medvit.evaluation.metrics import confusion
from medvit.inference.registry import Registry
from medvit.ui import parts
from medvit.ui.components.base import current
from medvit.ui.components.confusion_matrix import confusion_matrix, images, render, render_difference
from medvit.ui.components.gallery import gallery
from medvit.ui.panels import plots_tab, reliability
from medvit.ui.panels import selection as cases
from medvit.ui.panels.selection import Selection

ALONE = ""  # in the picker of the model compared with
NOBODY = ("no other model", ALONE)
NO_MATRIX = "<p>An image of this subset can have several labels, so there is no confusion matrix.</p>"


@dataclass(frozen=True)
class TestSet:
    """What the pickers above the tabs call.

    `fill` gives, from the values of `inputs`, what `outputs` are to show. `shown` holds what they show:
    (subset, model). `opened`: listeners to a picture being opened; their gr.EventData has `index`, that of
    the test image.
    """

    __test__ = False  # pytest: not a test

    fill: Callable
    inputs: list
    outputs: list
    shown: gr.State
    opened: tuple[Callable, ...]


def build(registry: Registry, picked: gr.State) -> TestSet:
    """Lay out the tab, and connect what happens inside it.

    Args:
        picked: holds the (subset, model) that is to be shown.
    """
    selection = gr.State(Selection())
    shown = gr.State()  # the (subset, model) that is drawn here; None before, and where it was let go
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            matrix = confusion_matrix(elem_id="matrix")
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_id="shortcuts"):
                other = current(gr.Dropdown)([NOBODY], value=ALONE, label="Compare with", min_width=150)
                with gr.Column(min_width=150):
                    worst = gr.Button("Worst mistakes", size="sm")
                    differing = gr.Button("Where they disagree", size="sm", interactive=False)
            pictures = gallery(elem_id="cell")
    tiles = gr.HTML(min_height=96)
    fill_details, detail_outputs, open_tab, map_opened = plots_tab.build(registry, picked)
    fill_trust, trust_outputs = reliability.build(registry, shown)
    gr.HTML(f"<p class='quiet'>{parts.DISCLAIMER}</p>")

    @parts.show_user_errors
    def fill(picked, open_tab, shown):
        if shown == picked:
            return gr.skip()  # what was compared and leafed through stays
        subset, model = parts.require_state(picked)
        found = registry.checkpoint(subset, model)
        rivals = [] if found.subset.multi_label else registry.model_choices(subset)
        picker = gr.Dropdown([NOBODY, *(one for one in rivals if one[1] != model)], value=ALONE)
        return [
            picked,
            picker,
            gr.Button("Where they disagree", interactive=False),
            *show(picked, ALONE, Selection()),
            parts.figures(found),
            _matrix(found, None),
            *fill_details(picked, open_tab),
            *fill_trust(picked),
        ]

    @parts.show_user_errors
    def compare(shown, other):
        subset, model = parts.require_state(shown)
        found = registry.checkpoint(subset, model)
        if other == ALONE:
            button = gr.Button("Where they disagree", interactive=False)
            return _matrix(found, None), button, *show(shown, other, Selection())
        rival = registry.checkpoint(subset, other)
        count = len(select.disagreements(found.test_logits, rival.test_logits))
        button = gr.Button(f"Where they disagree: {images(count)}", interactive=True)
        return _matrix(found, rival), button, *show(shown, other, Selection("disagreements"))

    @parts.show_user_errors
    def show(shown, other, chosen: Selection, number: int = 0):
        subset, model = parts.require_state(shown)
        return chosen, cases.page(registry, subset, model, other or None, chosen, number)

    def show_cell(shown, other, event: gr.EventData):
        return show(shown, other, Selection("cell", int(event.row), int(event.column)))

    def show_mistakes(shown, other):
        return show(shown, other, Selection())

    def show_disagreements(shown, other):
        return show(shown, other, Selection("disagreements"))

    def turn(shown, other, chosen: Selection, event: gr.EventData):
        return show(shown, other, chosen, int(event.number))[1]

    quick: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
    asked, answered = [shown, other], [selection, pictures]
    other.select(compare, asked, [matrix, differing, *answered], **quick)
    matrix.click(show_cell, asked, answered, **quick)
    worst.click(show_mistakes, asked, answered, **quick)
    differing.click(show_disagreements, asked, answered, **quick)
    pictures.turn(turn, [*asked, selection], pictures, **quick)
    outputs = [shown, other, differing, *answered, tiles, matrix, *detail_outputs, *trust_outputs]
    return TestSet(fill, [picked, open_tab, shown], outputs, shown, (pictures.select, map_opened))


def _matrix(found: Checkpoint, rival: Checkpoint | None) -> str:
    """The matrix of a checkpoint, or its difference from that of another."""
    if found.subset.multi_label:
        return NO_MATRIX
    counts = confusion(found.test_logits, found.test_labels)
    if rival is None:
        return render(counts, found.subset.classes)
    others = confusion(rival.test_logits, rival.test_labels)
    return render_difference(counts, others, found.subset.classes, (found.title, rival.title))
