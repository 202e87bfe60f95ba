"""The lower half of the Test set tab: curves, tables and the embedding, each drawn while its tab is open."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import gradio as gr
import numpy as np

from medvit import plots
from medvit.checkpoint import Checkpoint
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.one_vs_rest import precision_recall_curves, roc_curves
from medvit.inference.registry import Registry
from medvit.ui.components.embedding_plot import embedding_plot, points
from medvit.ui.html import note
from medvit.ui.panels import tables
from medvit.ui.server.responses import displayed_folder
from medvit.ui.state import AT_ONCE, Values, connect, require_state, show_user_errors

ABOUT_EMBEDDING = (
    "Each point is a test image, placed by t-SNE: images with similar features lie close to each other. Only "
    "neighbourhoods are meaningful; distances between groups are not. Click a point to open its image."
)
NO_EMBEDDING = (
    "This checkpoint has no t-SNE embedding. With the data on disk, "
    "`medvit evaluate {folder} --tsne` computes it."
)


@dataclass(frozen=True, eq=False)
class PlotsTab:
    """The components of each tab by its title, and the title of the open tab."""

    open_tab: gr.State
    components: dict[str, tuple[gr.components.Component, ...]]
    draw: Callable[[str, str, str], list[Any]]  # (title, subset, model) -> values of its components

    @property
    def outputs(self) -> set[Any]:
        """All components that `update` changes."""
        return {component for components in self.components.values() for component in components}

    @property
    def embedding(self) -> gr.HTML:
        """The embedding plot; gr.EventData of its `select` has `index`, that of the test image."""
        return self.components["Embedding"][0]  # type: ignore[return-value]

    def update(self, title: str, checkpoint: tuple[str, str]) -> Values:
        """Draw the open tab; the others are drawn when they are opened."""
        return dict(zip(self.components[title], self.draw(title, *checkpoint), strict=True))


def build(registry: Registry, selection: gr.State) -> PlotsTab:
    """Lay the tabs out.

    Args:
        selection: the state that holds the `Selection` of the pickers.
    """
    tabs: dict[str, gr.Tab] = {}
    components: dict[str, tuple[gr.components.Component, ...]] = {}
    with gr.Tabs(elem_id="details"):
        for title in DRAW:
            with gr.Tab(title) as tabs[title]:
                components[title] = _layout(title)

    @lru_cache(256)
    def draw(title: str, subset: str, model: str) -> list[Any]:
        return DRAW[title](registry.checkpoint(subset, model))

    panel = PlotsTab(gr.State("ROC"), components, draw)

    @show_user_errors
    def open_tab(title: str, values: Values) -> Values:
        checkpoint = require_state(values[selection]).checkpoint
        return {panel.open_tab: title} | panel.update(title, checkpoint)

    for title, tab in tabs.items():
        outputs = {panel.open_tab, *components[title]}
        connect(tab.select, partial(open_tab, title), {selection}, outputs, **AT_ONCE)
    return panel


def _layout(title: str) -> tuple[gr.components.Component, ...]:
    if title == "Embedding":
        plot, missing = embedding_plot(elem_id="embedding"), gr.Markdown(visible=False)
        gr.HTML(note(ABOUT_EMBEDDING))
        return plot, missing
    if title in ("Per class", "Published results"):
        return (gr.HTML(min_height=200),)
    return (gr.Plot(show_label=False, container=False),)


def _test_split(checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Labels, probabilities (N, C) and classes of the test split."""
    probs = probabilities(checkpoint.test_logits, checkpoint.dataset.multi_label)
    return checkpoint.test_labels, probs, checkpoint.dataset.classes


def _embedding(checkpoint: Checkpoint) -> list[Any]:
    """The plot, or the command that computes it. Multi-label images form two groups: any label or none."""
    if checkpoint.test_tsne is None:
        return [
            gr.HTML({}, visible=False),
            gr.Markdown(NO_EMBEDDING.format(folder=displayed_folder(checkpoint.folder)), visible=True),
        ]
    labels, probs, classes = _test_split(checkpoint)
    truth, predicted = labels, probs.argmax(1)
    correct = predicted == labels if labels.ndim == 1 else ((probs > 0.5) == labels).all(1)
    if labels.ndim == 2:
        truth, predicted, classes = labels.max(1), (probs > 0.5).max(1), ("no label", "any label")
    value = points(checkpoint.test_tsne, truth, predicted, correct, probs.max(1), classes)
    return [gr.HTML(value, visible=True), gr.Markdown(visible=False)]


DRAW: dict[str, Callable[[Checkpoint], list[Any]]] = {
    "ROC": lambda checkpoint: [plots.roc_curves(roc_curves(*_test_split(checkpoint)))],
    "Precision-recall": lambda checkpoint: [
        plots.precision_recall_curves(precision_recall_curves(*_test_split(checkpoint)))
    ],
    "Per class": lambda checkpoint: [tables.render(tables.per_class_table(checkpoint))],
    "Embedding": _embedding,
    "Learning curve": lambda checkpoint: [plots.learning_curve(checkpoint.card["history"])],
    "Published results": lambda checkpoint: [tables.render(tables.published_table(checkpoint))],
}
