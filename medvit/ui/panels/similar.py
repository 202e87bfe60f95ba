"""Similar images: the nearest training and test images by the model's own features."""

from collections import Counter
from dataclasses import dataclass

import gradio as gr
import numpy as np

from medvit.data import how_to_get, short_name
from medvit.inference.index_builder import IndexBuilder
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.inference.retrieval import SPLITS, Index, Neighbour
from medvit.ui import html
from medvit.ui.components.gallery import Item, gallery
from medvit.ui.components.gallery import render as render_gallery
from medvit.ui.state import NO_SPINNER, Values, connect, require_state, show_user_errors

COUNT = 8
POLL_SECONDS = 1.5


@dataclass(frozen=True, eq=False)
class SimilarPanel:
    """The images nearest to the current one; computed while the section is open.

    The `select` event of `pictures` has `index`, that of a test image.
    """

    registry: Registry
    builder: IndexBuilder
    answer: gr.State
    is_open: gr.State
    start: gr.Button
    pictures: gr.HTML
    timer: gr.Timer

    @show_user_errors
    def update(self, values: Values) -> Values:
        """The nearest images while the section is open, or why there are none yet."""
        return self._update(values) if values[self.is_open] and values[self.answer] else gr.skip()

    def _update(self, values: Values) -> Values:
        answer = values[self.answer]
        prediction = answer.prediction
        checkpoint = self.registry.checkpoint(prediction.subset, prediction.model)
        if "test" not in checkpoint.card:
            return self._message("There are no labelled pictures to compare with for this model.")
        if not self.registry.has_data(prediction.subset):
            way = how_to_get(checkpoint.dataset, checkpoint.card["source_size"])
            return self._message(
                f"Similar images need the data, which are not on this machine. To get them: {way}."
            )
        index = Index(checkpoint, self.registry.data_root)
        if not index.ready:
            running = self.builder.is_running(index)
            return self._message(self.builder.status(index), can_start=not running, poll=running)
        features = self.registry.predictor(prediction.subset, prediction.model).features(prediction.source)
        neighbours = {split: index.nearest(features, split, COUNT, prediction.source) for split in SPLITS}
        return self._display(render(prediction, neighbours, index.size("train")))

    @show_user_errors
    def compute(self, values: Values) -> Values:
        """Start to compute the features of all images, in the background."""
        prediction = require_state(values[self.answer]).prediction
        checkpoint = self.registry.checkpoint(prediction.subset, prediction.model)
        self.builder.start(Index(checkpoint, self.registry.data_root))
        return self._update(values)

    @show_user_errors
    def open(self, values: Values) -> Values:
        """The section was opened."""
        return {self.is_open: True} | (self._update(values) if values[self.answer] else {})

    def close(self) -> Values:
        """The section was closed."""
        return {self.is_open: False, self.timer: gr.Timer(active=False)}

    def _message(self, text: str, can_start: bool = False, poll: bool = False) -> Values:
        return self._display(html.note(text), can_start, poll)

    def _display(self, pictures: str, can_start: bool = False, poll: bool = False) -> Values:
        return {
            self.pictures: pictures,
            self.start: gr.Button(visible=can_start),
            self.timer: gr.Timer(active=poll),
        }


def build(registry: Registry, answer: gr.State, answer_text: gr.HTML) -> SimilarPanel:
    """Lay out the section.

    Args:
        answer: holds the `Answer` that is displayed.
        answer_text: changes with every new answer.
    """
    is_open = gr.State(False)
    with gr.Accordion("Similar images", open=False) as section:
        panel = SimilarPanel(
            registry,
            IndexBuilder(),
            answer,
            is_open,
            gr.Button("Compute the model's features of all images", size="sm", visible=False),
            gallery(elem_id="similar"),
            gr.Timer(POLL_SECONDS, active=False),
        )
    inputs, outputs = {answer, is_open}, {panel.start, panel.pictures, panel.timer}
    connect(section.expand, panel.open, inputs, outputs | {is_open}, **NO_SPINNER)
    connect(section.collapse, panel.close, None, {is_open, panel.timer}, **NO_SPINNER)
    connect(answer_text.change, panel.update, inputs, outputs, **NO_SPINNER)
    connect(panel.start.click, panel.compute, inputs, outputs, **NO_SPINNER)
    connect(panel.timer.tick, panel.update, inputs, outputs, **NO_SPINNER)
    return panel


def render(prediction: Prediction, neighbours: dict[str, list[Neighbour]], indexed: int) -> str:
    """The nearest images of each split as HTML, and how many of them have the predicted class.

    Args:
        indexed: number of training images that were compared.
    """
    titles = {"train": f"training images (of {indexed:,} compared)", "test": "test images"}
    pages = [_page(prediction, split, titles[split], images) for split, images in neighbours.items()]
    return "".join(pages)


def _page(prediction: Prediction, split: str, title: str, neighbours: list[Neighbour]) -> str:
    truths = [_true_class(prediction.classes, neighbour.label) for neighbour in neighbours]
    agreeing = sum(truth == prediction.label for truth in truths)
    counts = ", ".join(f"{count} {short_name(name)}" for name, count in Counter(truths).most_common())
    items = [
        Item(
            neighbour.index if split == "test" else None,
            f"{'✓' if truth == prediction.label else '✗'} {neighbour.similarity:.3f}",
            f"{'Test' if split == 'test' else 'Training'} image {neighbour.index}: true class {truth}, "
            f"similarity {neighbour.similarity:.3f}",
        )
        for neighbour, truth in zip(neighbours, truths, strict=True)
    ]
    return render_gallery(
        f"Nearest {title}, by cosine similarity of the features",
        f"{agreeing} of {len(neighbours)} have the predicted class. True classes: {counts}.",
        items,
        [neighbour.pixels for neighbour in neighbours],
    )


def _true_class(classes: tuple[str, ...], label: np.ndarray) -> str:
    """The class of a label, or the names of several labels."""
    if label.ndim == 0:
        return classes[int(label)]
    names = [name for name, has in zip(classes, label, strict=True) if has]
    return ", ".join(names) or "no label"
