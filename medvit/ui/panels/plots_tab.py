"""The lower half of the Test set tab: curves, tables and the map, each drawn while its own tab is open."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gradio as gr

from medvit import plots
from medvit.checkpoint import Checkpoint
from medvit.evaluation.metrics import probabilities
from medvit.inference.registry import Registry
from medvit.ui import parts
from medvit.ui.components.embedding_plot import points, split_map
from medvit.ui.panels import tables

ABOUT_MAP = (
    "<p class='quiet small'>Each point is a test image, placed by t-SNE so that images alike to the model "
    "lie together. Only neighbourhoods mean something; distances between groups do not. "
    "A click opens the image.</p>"
)
NO_MAP = (
    "There is no map in this checkpoint. With the data on disk, "
    "`python scripts/evaluate.py {folder} --map` makes it."
)


def build(registry: Registry, picked: gr.State) -> tuple[Callable, list, gr.State, Callable]:
    """Lay the tabs out.

    Returns:
        `fill(picked, open_tab)` and the outputs that it fills; what holds the open tab; and the
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
    def drawn(title: str, picked: tuple[str, str]) -> list:
        return DRAWN[title](registry.checkpoint(*picked))

    @parts.show_user_errors
    def fill(picked, open_tab):
        """What the open tab shows; each other one is drawn anew when it is opened."""
        values = []
        for title, outputs in shown.items():
            values += drawn(title, picked) if title == open_tab else [gr.skip()] * len(outputs)
        return values

    private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
    for title, tab in tabs.items():

        @parts.show_user_errors
        def draw(picked, title=title):
            return [title, *drawn(title, picked)]

        tab.select(draw, picked, [open_tab, *shown[title]], **private)
    return fill, [output for outputs in shown.values() for output in outputs], open_tab, plane.select


def _roc(found: Checkpoint) -> list:
    scores = probabilities(found.test_logits, found.subset.multi_label)
    return [plots.roc_curves(found.test_labels, scores, found.subset.classes)]


def _precision_recall(found: Checkpoint) -> list:
    scores = probabilities(found.test_logits, found.subset.multi_label)
    return [plots.precision_recall_curves(found.test_labels, scores, found.subset.classes)]


def _learning(found: Checkpoint) -> list:
    return [plots.learning_curve(found.card["history"])]


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
