"""The Explore tab: an image, where the model looks, and what it says."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit.imaging import dicom
from medvit.inference.registry import Registry
from medvit.inference.sample import Sample
from medvit.limits import IMAGE_BYTES
from medvit.ui import html
from medvit.ui.components import thumbnail_strip
from medvit.ui.components.upload import file_button, picture_input
from medvit.ui.panels import all_maps, faithfulness, heatmap, perturbation, report_button, similar
from medvit.ui.panels import answer as answer_panel
from medvit.ui.panels.answer import AnswerPanel
from medvit.ui.panels.faithfulness import FaithfulnessPanel
from medvit.ui.panels.heatmap import HeatmapPanel
from medvit.ui.panels.perturbation import PerturbationPanel
from medvit.ui.pickers import Pickers
from medvit.ui.state import (
    NO_SPINNER,
    PRIVATE,
    STATE_SECONDS,
    Answer,
    Selection,
    Values,
    connect,
    require_state,
    show_user_errors,
)

# Titles of the examples without data, by whether they are synthetic.
EXAMPLES = {True: "Synthetic examples (drawings, not data)", False: "Photographs (of scikit-image)"}


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """The ways to pick an image."""

    upload: gr.Image
    thumbnail: gr.HTML
    examples: gr.HTML
    random: gr.Button
    misclassified: gr.Button
    dicom: gr.UploadButton


@dataclass(frozen=True, eq=False)
class Explore:
    """The tab. `answer` holds the `Answer` that is displayed; the selection may be ahead of it.

    `linked_map` holds the map that the link to this page asks for, until the first answer.
    """

    registry: Registry
    pickers: Pickers
    answer: gr.State
    linked_map: gr.State
    images: ImageInputs
    heatmap: HeatmapPanel
    text: AnswerPanel
    faithfulness: FaithfulnessPanel
    perturbation: PerturbationPanel

    @property
    def inputs(self) -> set:
        """What `update` and `predict` read."""
        controls = {self.text.level, self.text.tta} | self.heatmap.controls
        return self.pickers.inputs | {self.answer, self.linked_map} | controls

    @property
    def outputs(self) -> set:
        """What `update` and `predict` set."""
        own = {self.pickers.selection, self.answer, self.images.upload, self.images.thumbnail, self.text.text}
        panels = self.heatmap.outputs | self.faithfulness.outputs | self.perturbation.outputs
        return own | self.examples | panels

    @property
    def examples(self) -> set:
        """What `draw_examples` sets."""
        return {self.images.examples, self.images.misclassified}

    @property
    def selected(self) -> set:
        """What picking an image sets."""
        return {self.pickers.selection, self.images.upload}

    def update(self, values: Values) -> Values:
        """Display the answer for the selection, unless it is displayed already."""
        answer, selection = values[self.answer], values[self.pickers.selection]
        if answer and selection.is_same(answer.selection):
            return gr.skip()
        return self._display(selection, values)

    @show_user_errors
    def predict(self, values: Values) -> Values:
        """Display the answer for the selection as the controls ask for it."""
        return self._display(self.pickers.resolve(values), values)

    def _display(self, selection: Selection, values: Values) -> Values:
        answer = values[self.answer]
        changes: Values = {}
        if answer is None or answer.selection.subset != selection.subset:
            changes = {self.images.upload: None} | self._draw_examples(selection.subset)
        _, tta = self.text.options(values)
        predictor = self.registry.predictor(*selection.checkpoint)
        prediction = predictor.predict(predictor.source(selection.sample.source), tta)
        if answer is None and values[self.linked_map]:
            values = values | {self.heatmap.method: values[self.linked_map]}
        answer = Answer(selection, prediction)
        values = self.heatmap.adapt(values, prediction)
        if selection is not values[self.pickers.selection]:
            # Written only where the dropdowns changed it: an image picked meanwhile must not be overwritten.
            changes[self.pickers.selection] = selection
        return {
            self.answer: answer,
            self.images.thumbnail: _thumbnail(prediction.source, selection.sample.origin),
            **changes,
            **self.text.update(answer, values),
            **self.heatmap.update(prediction, values),
            **self.faithfulness.update(prediction, values[self.heatmap.method]),
            **self.perturbation.update(prediction),
        }

    def pick(self, values: Values, sample: Sample) -> Values:
        """Select an image; the upload box is emptied, as its picture is no longer the current image."""
        return self.pickers.select(values, sample) | {self.images.upload: None}

    @show_user_errors
    def pick_example(self, values: Values, event: gr.EventData) -> Values:
        """Select the clicked example."""
        examples = self.registry.examples(self.pickers.resolve(values).subset)
        return self.pick(values, examples[int(event.index)])

    @show_user_errors
    def pick_test_image(self, values: Values, event: gr.EventData) -> Values:
        """Select the clicked test image."""
        subset = self.pickers.resolve(values).subset
        return self.pick(values, self.registry.test_sample(subset, int(event.index)))

    @show_user_errors
    def pick_random(self, values: Values) -> Values:
        """Select any image."""
        return self.pick(values, self.registry.random_sample(self.pickers.resolve(values).subset))

    @show_user_errors
    def pick_misclassified(self, values: Values) -> Values:
        """Select any test image that the model gets wrong."""
        checkpoint = self.pickers.resolve(values).checkpoint
        return self.pick(values, self.registry.random_misclassified(*checkpoint))

    @show_user_errors
    def pick_dicom(self, values: Values) -> Values:
        """Select the uploaded DICOM file."""
        return self.pick(values, self._open_upload(values, values[self.images.dicom]))

    @show_user_errors
    def pick_upload(self, values: Values) -> Values:
        """Select the uploaded picture; nothing where the box was emptied."""
        path = values[self.images.upload]
        return gr.skip() if path is None else self.pickers.select(values, self._open_upload(values, path))

    def _open_upload(self, values: Values, path: str) -> Sample:
        return self.registry.open_upload(*self.pickers.resolve(values).checkpoint, path)

    @show_user_errors
    def change_level(self, values: Values) -> Values:
        """The answer with a prediction set of another level."""
        return self.text.update(require_state(values[self.answer]), values)

    @show_user_errors
    def draw_examples(self, values: Values) -> Values:
        """The examples of the dataset; they are test images once its data are on disk."""
        return self._draw_examples(self.pickers.resolve(values).subset)

    def _draw_examples(self, subset: str) -> Values:
        samples, has_data = self.registry.examples(subset), self.registry.has_data(subset)
        title = "Examples from the test split" if has_data else EXAMPLES[samples[0].synthetic]
        pictures: list[Any] = [sample.source for sample in samples]  # arrays, as examples are
        strip = thumbnail_strip.render(title, pictures, [sample.origin for sample in samples])
        label = "Random misclassified" if has_data else "Random misclassified (needs data)"
        return {
            self.images.examples: strip,
            self.images.misclassified: gr.Button(label, interactive=has_data),
        }


def build(registry: Registry, pickers: Pickers) -> Explore:
    """Lay out the tab, and connect what happens inside it."""
    answer = gr.State(time_to_live=STATE_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            gr.HTML(html.panel_title("Image"))
            images = _build_images()
        with gr.Column(scale=6, min_width=320):
            gr.HTML(html.panel_title("Where it looks"))
            maps = heatmap.build(registry, answer)
        with gr.Column(scale=4, min_width=280):
            gr.HTML(html.panel_title("What it says"))
            text = answer_panel.build()
            report_button.build(registry, answer, text.level)
            verdict = faithfulness.build(registry, answer, maps)
    all_maps.build(registry, answer, text.text, maps)
    with gr.Accordion("Perturbation test", open=False, elem_id="perturbation"):
        perturbed = perturbation.build(registry, answer)
    neighbours = similar.build(registry, answer, text.text)
    tab = Explore(registry, pickers, answer, gr.State(), images, maps, text, verdict, perturbed)
    _connect(tab, neighbours.pictures)
    return tab


def _build_images() -> ImageInputs:
    """Lay out the ways to pick an image."""
    upload = picture_input(
        sources=["upload", "clipboard", "webcam"],
        show_label=False,
        height=170,
        buttons=[],
        placeholder=f"Drop an image here, or click\nany size, up to {IMAGE_BYTES >> 20} MB",
        elem_id="picture",
    )
    thumbnail = gr.HTML(min_height=96)
    examples = thumbnail_strip.thumbnail_strip(elem_id="examples")
    with gr.Row(elem_id="pick-image"):
        return ImageInputs(
            upload,
            thumbnail,
            examples,
            random=gr.Button("Random image", size="sm", min_width=90),
            misclassified=gr.Button("Random misclassified", size="sm", min_width=90),
            # The box above takes what browsers call images, which DICOM files are not.
            dicom=file_button(
                "DICOM file", size="sm", min_width=90, visible=dicom.available(), elem_id="dicom"
            ),
        )


def _connect(tab: Explore, similar_images: gr.HTML) -> None:
    """Connect picking an image to the prediction, and the controls of the answer to the answer."""
    images, selected = tab.images, tab.selected
    predict: dict[str, Any] = dict(
        fn=tab.predict,
        inputs=tab.inputs,
        outputs=tab.outputs,
        concurrency_id="model",
        show_progress_on=[tab.text.text],
        trigger_mode="always_last",
        **PRIVATE,
    )
    # `change`, as `input` is also triggered, with the previous picture, when the box is emptied.
    upload_inputs = tab.pickers.inputs | {images.upload}
    uploaded = connect(
        images.upload.change, tab.pick_upload, upload_inputs, {tab.pickers.selection}, **PRIVATE
    )
    uploaded.success(**predict)
    uploaded.failure(lambda: None, None, images.upload, **NO_SPINNER)
    scan_inputs = tab.pickers.inputs | {images.dicom}
    connect(images.dicom.upload, tab.pick_dicom, scan_inputs, selected, **PRIVATE).success(**predict)
    for listener, function in (
        (images.examples.select, tab.pick_example),
        (similar_images.select, tab.pick_test_image),
        (images.random.click, tab.pick_random),
        (images.misclassified.click, tab.pick_misclassified),
    ):
        # `multiple`, as the arrow keys walk through the examples faster than they are classified, and
        # `always_last` would repeat the first event with its index.
        event = NO_SPINNER | {"trigger_mode": "multiple"}
        connect(listener, function, tab.pickers.inputs, selected, **event).success(**predict)
    tab.text.tta.input(**predict)
    level_inputs = {tab.answer, tab.text.level, tab.text.tta}
    connect(tab.text.level.select, tab.change_level, level_inputs, {tab.text.text}, **NO_SPINNER)


def _thumbnail(source: Any, origin: str) -> str:
    """The source pixels, as the model sees them."""
    height, width = source.shape[:2]
    lines = ["What the model sees:", f"{origin},", f"{width} × {height} pixels"]
    return html.thumbnail(source, f"{origin}, {width} by {height} pixels", lines)
