"""The Explore tab: an image, where the model looks, what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit.imaging import dicom
from medvit.limits import IMAGE_BYTES
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry, Sample
from medvit.ui import parts
from medvit.ui.components.thumbnail_strip import film
from medvit.ui.components.thumbnail_strip import render as render_film
from medvit.ui.panels import faithfulness, heatmap, perturbation, report_button, similar


@dataclass(frozen=True)
class Explore:
    """What the pickers above the tabs call.

    `fill` gives, from the values of `inputs`, what `outputs` are to show. `case` holds the Case on the
    table; `open` puts one there, and empties the upload box, by filling `table`. `draw_examples(picked)`
    fills `strip`.
    """

    fill: Callable
    inputs: list
    outputs: list
    case: gr.State
    open: Callable
    table: list
    draw_examples: Callable
    strip: list


def build(registry: Registry, picked: gr.State) -> Explore:
    """Lay out the tab, and connect what happens inside it. `picked` holds the (subset, model) to ask."""
    case = gr.State(time_to_live=3600)
    seen = gr.State(time_to_live=3600)
    asked_about = gr.State(time_to_live=3600)  # the Case of `seen`; on the table may lie the next one already
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>Image</div>")
            picture = parts.picture_input(
                sources=["upload", "clipboard", "webcam"],
                show_label=False,
                height=170,
                buttons=[],
                placeholder=f"Drop an image here, or click\nany size, up to {IMAGE_BYTES >> 20} MB",
                elem_id="picture",
            )
            thumbnail = gr.HTML(min_height=96)
            examples = film(elem_id="examples")
            with gr.Row():
                surprise = gr.Button("Surprise me", size="sm", min_width=90)
                random_misclassified = gr.Button("A mistake", size="sm", min_width=90)
                # The box above takes what browsers call images, which DICOM files are not.
                scan = parts.file_button(
                    "DICOM file", size="sm", min_width=90, visible=dicom.available(), elem_id="dicom"
                )
        with gr.Column(scale=5, min_width=320):
            gr.HTML("<div class='panel-title'>Where it looks</div>")
            panel = heatmap.build(registry, seen)
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>What it says</div>")
            answer = gr.HTML(min_height=300, elem_id="answer")
            level, tta = parts.trust_controls()
            report_button.build(registry, seen, asked_about, level)
            judge, judged = faithfulness.build(registry, seen, panel.settings, panel.moved)
    with gr.Accordion("Erase and ask again", open=False, elem_id="erase"):
        prepare, canvas = perturbation.build(registry, seen)
    alike = similar.build(registry, seen, answer)

    def answer_about(picked, case: Sample, level, tta, *settings):
        predictor = registry.predictor(*picked)
        prediction = predictor.predict(predictor.source(case.source), tta)
        method, shown = panel.show(prediction, *settings)
        return [
            prediction,
            case,
            parts.thumbnail(prediction.source, case.origin),
            parts.answer(prediction, case, level or None),
            *shown,
            *judge(prediction, method),
            *prepare(prediction),
        ]

    @parts.show_user_errors
    def ask(picked, case: Sample | None, *settings):
        case = parts.require_state(case)
        if case.subset != parts.require_state(picked)[0]:
            return gr.skip()  # another subset was picked meanwhile, and is drawn next
        return answer_about(picked, case, *settings)

    @parts.show_user_errors
    def fill(picked, case: Sample | None, seen: Prediction | None, asked_about, *settings):
        if picked is None:
            return gr.skip()  # the page is being loaded
        case = parts.require_state(case)
        shown = (seen.subset, seen.model) if seen else None
        if case.subset != picked[0] or (shown == picked and asked_about is case):
            return gr.skip()
        table = [gr.skip()] * 3
        if shown is None or shown[0] != picked[0]:
            table = [None, *draw_examples(picked)]
        return [*table, *answer_about(picked, case, *settings)]

    @parts.show_user_errors
    def upload(picked, path):
        return gr.skip() if path is None else registry.open_upload(*parts.require_state(picked), path)

    @parts.show_user_errors
    def open_scan(picked, path):
        return on_table(registry.open_upload(*parts.require_state(picked), path))

    def on_table(chosen: Sample):
        return chosen, None  # the upload box is emptied: what is on the table is no longer its picture

    @parts.show_user_errors
    def pick(picked, event: gr.EventData):
        return on_table(registry.examples(parts.require_state(picked)[0])[int(event.index)])

    @parts.show_user_errors
    def open_alike(picked, event: gr.EventData):
        return on_table(registry.test_sample(parts.require_state(picked)[0], int(event.index)))

    @parts.show_user_errors
    def draw_lot(picked):
        return on_table(registry.random_sample(parts.require_state(picked)[0]))

    @parts.show_user_errors
    def draw_mistake(picked):
        return on_table(registry.random_misclassified(*parts.require_state(picked)))

    def draw_examples(picked):
        subset, _ = parts.require_state(picked)
        cases, real = registry.examples(subset), registry.has_data(subset)
        title = "Examples from the test split" if real else "Phantoms (drawings, not data) to try it on"
        row = render_film(title, [one.source for one in cases], [one.origin for one in cases])
        return row, gr.Button("A mistake" if real else "A mistake (needs data)", interactive=real)

    @parts.show_user_errors
    def answer_at(prediction, case, level):
        return parts.answer(parts.require_state(prediction), parts.require_state(case), level or None)

    private: dict[str, Any] = dict(api_visibility="private")
    settings = [level, tta, panel.layers, *panel.settings]
    answered = [seen, asked_about, thumbnail, answer, *panel.outputs, *judged, *canvas]
    asked: dict[str, Any] = dict(
        fn=ask,
        inputs=[picked, case, *settings],
        outputs=answered,
        **private,
        concurrency_id="model",
        show_progress_on=[answer],
        trigger_mode="always_last",
    )
    # `change`, as `input` also comes, with the old picture, when the box is emptied.
    uploaded = picture.change(upload, [picked, picture], case, **private)
    uploaded.success(**asked)
    uploaded.failure(lambda: None, None, picture, show_progress="hidden", **private)
    table = [case, picture]
    scan.upload(open_scan, [picked, scan], table, **private).success(**asked)
    for listener, chosen in (
        (examples.select, pick),
        (alike.select, open_alike),
        (surprise.click, draw_lot),
        (random_misclassified.click, draw_mistake),
    ):
        listener(chosen, picked, table, show_progress="hidden", **private).success(**asked)
    tta.input(**asked)
    level.select(answer_at, [seen, asked_about, level], answer, show_progress="hidden", **private)
    strip = [examples, random_misclassified]
    inputs, outputs = [picked, case, seen, asked_about, *settings], [picture, *strip, *answered]
    return Explore(fill, inputs, outputs, case, on_table, table, draw_examples, strip)
