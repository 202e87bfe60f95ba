"""The Test set tab: predictions on the official test split, their metrics, and the images behind each number.

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
from medvit.ui import html
from medvit.ui.components.base import lenient
from medvit.ui.components.confusion_matrix import confusion_matrix, images, render, render_difference
from medvit.ui.components.gallery import gallery
from medvit.ui.panels import cell_gallery, plots_tab, reliability
from medvit.ui.panels.cell_gallery import GallerySelection
from medvit.ui.panels.plots_tab import PlotsTab
from medvit.ui.panels.reliability import ReliabilityPanel
from medvit.ui.panels.tables import metric_tiles
from medvit.ui.state import AT_ONCE, Values, connect, require_state, show_user_errors

NO_OTHER_MODEL = ("no other model", "")  # in the picker of the model to compare with
DISAGREEMENTS = "Disagreements"
UNTESTED = (
    "There are no test results for this model; medvit evaluate --model MODEL --data FOLDER measures it on "
    "labelled pictures."
)
NO_MATRIX = "An image of this dataset can have several labels, so there is no confusion matrix."


@dataclass(frozen=True, eq=False)
class TestSet:
    """The components of the tab.

    `selection` holds the `Selection` of the pickers, `displayed` the (subset, model) that the tab displays.
    """

    __test__ = False  # pytest: not a test

    registry: Registry
    selection: gr.State
    displayed: gr.State
    untested: gr.HTML
    content: gr.Column
    gallery_selection: gr.State
    matrix: gr.HTML
    other_model: gr.Dropdown
    disagreements: gr.Button
    gallery: gr.HTML
    tiles: gr.HTML
    plots: PlotsTab
    reliability: ReliabilityPanel

    @property
    def inputs(self) -> set[Any]:
        """What `update` reads."""
        return {self.selection, self.displayed, self.plots.open_tab}

    @property
    def outputs(self) -> set[Any]:
        """What `update` changes."""
        own = {self.displayed, self.untested, self.content, self.other_model, self.disagreements}
        own |= {self.tiles, self.matrix}
        return own | self.gallery_outputs | self.plots.outputs | self.reliability.outputs

    @property
    def gallery_inputs(self) -> set[Any]:
        """What the gallery depends on."""
        return {self.displayed, self.other_model, self.gallery_selection}

    @property
    def gallery_outputs(self) -> set[Any]:
        """The gallery and what it is a selection of."""
        return {self.gallery_selection, self.gallery}

    @property
    def image_opened(self) -> tuple[Callable, ...]:
        """Listeners to a click on a test image; their gr.EventData has its `index`."""
        return self.gallery.select, self.plots.embedding.select  # type: ignore[attr-defined]

    @show_user_errors
    def update(self, values: Values) -> Values:
        """Display the selected model, unless it is on display: its comparison and gallery page stay."""
        subset, model = require_state(values[self.selection]).checkpoint
        if values[self.displayed] == (subset, model):
            return gr.skip()
        checkpoint = self.registry.checkpoint(subset, model)
        if "test" not in checkpoint.card:
            return {
                self.displayed: (subset, model),
                self.untested: gr.HTML(html.note(UNTESTED), visible=True),
                self.content: gr.Column(visible=False),
            }
        choices = [] if checkpoint.dataset.multi_label else self.registry.model_choices(subset)
        choices = [NO_OTHER_MODEL, *((title, name) for title, name in choices if name != model)]
        return (
            {
                self.displayed: (subset, model),
                self.untested: gr.HTML(visible=False),
                self.content: gr.Column(visible=True),
                self.tiles: metric_tiles(checkpoint),
                self.other_model: gr.Dropdown(choices, value=""),
                self.matrix: matrix_html(checkpoint),
                self.disagreements: gr.Button(DISAGREEMENTS, interactive=False),
            }
            | self._show((subset, model), "", GallerySelection())
            | self.plots.update(values[self.plots.open_tab], (subset, model))
            | self.reliability.update(subset, model)
        )

    @show_user_errors
    def compare(self, values: Values) -> Values:
        """Display the difference from another model, and the images on which the two disagree."""
        subset, model = require_state(values[self.displayed])
        other_name = values[self.other_model]
        checkpoint = self.registry.checkpoint(subset, model)
        if not other_name:
            matrix, selection = matrix_html(checkpoint), GallerySelection()
            button = gr.Button(DISAGREEMENTS, interactive=False)
        else:
            other_model = self.registry.checkpoint(subset, other_name)
            count = len(select.disagreements(checkpoint.test_logits, other_model.test_logits))
            matrix, selection = matrix_html(checkpoint, other_model), GallerySelection("disagreements")
            button = gr.Button(f"{DISAGREEMENTS}: {images(count)}", interactive=True)
        return {self.matrix: matrix, self.disagreements: button} | self._show(
            (subset, model), other_name, selection
        )

    @show_user_errors
    def show_cell(self, values: Values, event: gr.EventData) -> Values:
        """Show the images of a clicked cell of the matrix."""
        selection = GallerySelection("cell", int(event.row), int(event.column))
        return self._show(values[self.displayed], values[self.other_model], selection)

    @show_user_errors
    def show_errors(self, values: Values) -> Values:
        """Show the misclassified images."""
        return self._show(values[self.displayed], values[self.other_model], GallerySelection())

    @show_user_errors
    def show_disagreements(self, values: Values) -> Values:
        """Show the images on which the two models disagree."""
        selection = GallerySelection("disagreements")
        return self._show(values[self.displayed], values[self.other_model], selection)

    @show_user_errors
    def turn_page(self, values: Values, event: gr.EventData) -> Values:
        """Show another page of the gallery."""
        selection = values[self.gallery_selection]
        return self._show(values[self.displayed], values[self.other_model], selection, int(event.number))

    def _show(
        self,
        displayed: tuple[str, str] | None,
        other_name: str,
        selection: GallerySelection,
        number: int = 0,
    ) -> Values:
        subset, model = require_state(displayed)
        page = cell_gallery.page(self.registry, subset, model, other_name or None, selection, number)
        return {self.gallery_selection: selection, self.gallery: page}


def build(registry: Registry, selection: gr.State) -> TestSet:
    """Lay out the tab and connect its events.

    Args:
        selection: the state that holds the `Selection` of the pickers.
    """
    displayed, gallery_selection = gr.State(), gr.State(GallerySelection())
    untested = gr.HTML(visible=False)
    with gr.Column() as content:
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=320):
                matrix = confusion_matrix(elem_id="matrix")
            with gr.Column(scale=5, min_width=320):
                with gr.Row(elem_id="shortcuts"):
                    picker = lenient(gr.Dropdown)
                    other_model = picker([NO_OTHER_MODEL], value="", label="Compare with", min_width=150)
                    with gr.Column(min_width=150):
                        errors = gr.Button("Most confident errors", size="sm")
                        disagreements = gr.Button(DISAGREEMENTS, size="sm", interactive=False)
                pictures = gallery(elem_id="cell")
        tiles = gr.HTML(min_height=96)
        plots = plots_tab.build(registry, selection)
        trust = reliability.build(registry, displayed)
        gr.HTML(html.note(html.DISCLAIMER))
    tab = TestSet(
        registry, selection, displayed, untested, content, gallery_selection, matrix, other_model,
        disagreements, pictures, tiles, plots, trust,
    )  # fmt: skip
    events: list[tuple[Callable, Callable]] = [
        (matrix.click, tab.show_cell),  # type: ignore[attr-defined]
        (errors.click, tab.show_errors),
        (disagreements.click, tab.show_disagreements),
        (pictures.turn, tab.turn_page),  # type: ignore[attr-defined]
    ]
    for listener, function in events:
        event = AT_ONCE | {"trigger_mode": "multiple"}  # a quick second click counts as well
        connect(listener, function, tab.gallery_inputs, tab.gallery_outputs, **event)
    changed = {matrix, disagreements} | tab.gallery_outputs
    connect(other_model.select, tab.compare, tab.gallery_inputs, changed, **AT_ONCE)
    return tab


def matrix_html(checkpoint: Checkpoint, other_model: Checkpoint | None = None) -> str:
    """The confusion matrix of a model, or its difference from that of another one."""
    if checkpoint.dataset.multi_label:
        return html.note(NO_MATRIX)
    counts, classes = confusion(checkpoint.test_logits, checkpoint.test_labels), checkpoint.dataset.classes
    if other_model is None:
        return render(counts, classes)
    other_counts = confusion(other_model.test_logits, other_model.test_labels)
    return render_difference(counts, other_counts, classes, (checkpoint.title, other_model.title))
