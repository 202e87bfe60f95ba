"""The lower half of the Test set tab: curves, tables and the map, each drawn when its own tab is opened."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gradio as gr

from medvit import figures
from medvit.checkpoint import Checkpoint
from medvit.evaluation.metrics import probabilities
from medvit.ui import parts, tables
from medvit.ui.split_map import points, split_map
from medvit.ui.store import Store

ABOUT_MAP = (
    "<p class='quiet small'>Each point is a test image, placed by t-SNE so that images alike to the model "
    "lie together. Only neighbourhoods mean something; distances between groups do not. "
    "A click opens the image.</p>"
)
NO_MAP = (
    "There is no map in this checkpoint. With the data on disk, "
    "`python scripts/evaluate.py {folder} --map` makes it."
)


def build(store: Store, subset: gr.Dropdown, model: gr.Dropdown) -> tuple[Callable, list, Callable]:
    """Lay the tabs out.

    Returns:
        `fill(subset, model, open_tab)`; the outputs to fill, the first of which holds the open tab; and the
        listener to a click on the map, whose gr.EventData has `index`, that of the test image.
    """
    open_tab = gr.State("ROC")
    tabs: dict[str, gr.Tab] = {}
    shown: dict[str, list] = {}
    with gr.Tabs(elem_id="details"):
        for title in DRAWN:
            with gr.Tab(title) as tabs[title]:
                if title == "Map":
                    plane = split_map(elem_id="map")
                    shown[title] = [plane, gr.Markdown(visible=False)]
                    gr.HTML(ABOUT_MAP)
                elif title in ("Each class", "Published figures"):
                    shown[title] = [gr.HTML(min_height=200)]
                else:
                    shown[title] = [gr.Plot(show_label=False, container=False)]

    @lru_cache(256)
    def drawn(title: str, subset: str, model: str) -> list:
        return DRAWN[title](store.checkpoint(subset, model))

    @parts.plain_errors
    def fill(subset, model, open_tab):
        """The open tab; the others are emptied, as what they hold is of another model."""
        values: list[Any] = [open_tab]
        for title, outputs in shown.items():
            values += drawn(title, subset, model) if title == open_tab else [None] * len(outputs)
        return values

    private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
    for title, tab in tabs.items():

        @parts.plain_errors
        def draw(subset, model, title=title):
            # A tab also says that it is open when it first appears, and the pickers may be changing just
            # then: what changes them fills this tab too.
            if model not in dict(store.model_choices(subset)).values():
                return gr.skip()
            return [title, *drawn(title, subset, model)]

        # Without preprocessing, as that refuses a model that the picker is about to lose.
        tab.select(draw, [subset, model], [open_tab, *shown[title]], preprocess=False, **private)
    outputs = [open_tab, *(output for outputs in shown.values() for output in outputs)]
    return fill, outputs, plane.select


def _roc(found: Checkpoint) -> list:
    scores = probabilities(found.test_logits, found.subset.multi_label)
    return [figures.roc_curves(found.test_labels, scores, found.subset.classes)]


def _precision_recall(found: Checkpoint) -> list:
    scores = probabilities(found.test_logits, found.subset.multi_label)
    return [figures.precision_recall_curves(found.test_labels, scores, found.subset.classes)]


def _learning(found: Checkpoint) -> list:
    return [figures.learning_curve(found.card["history"])]


def _map(found: Checkpoint) -> list:
    """The map, or what stands in its place. Where labels can be several, they are only told from none."""
    if found.test_map is None:
        return [gr.HTML({}, visible=False), gr.Markdown(NO_MAP.format(folder=found.folder), visible=True)]
    labels, classes = found.test_labels, found.subset.classes
    scores = probabilities(found.test_logits, found.subset.multi_label)
    truth, guess = labels, scores.argmax(1)
    right = guess == labels if labels.ndim == 1 else ((scores > 0.5) == labels).all(1)
    if labels.ndim == 2:
        truth, guess, classes = labels.max(1), (scores > 0.5).max(1), ("no label", "some label")
    value = points(found.test_map, truth, guess, right, scores.max(1), classes)
    return [gr.HTML(value, visible=True), gr.Markdown(visible=False)]


DRAWN: dict[str, Callable[[Checkpoint], list]] = {
    "ROC": _roc,
    "Precision-recall": _precision_recall,
    "Each class": lambda found: [tables.each_class(found)],
    "Map": _map,
    "Learning curve": _learning,
    "Published figures": lambda found: [tables.beside_published(found)],
}
