"""The Explore tab: an image, where the model looks, what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import dicom, figures
from medvit.images import MAX_BYTES
from medvit.ui import believe, erase, maps, parts, report, similar
from medvit.ui.store import Case, Store


@dataclass(frozen=True)
class Explore:
    """What the pickers above the tabs call.

    `open_subset(subset)` puts the first example on the table and fills `table`; `draw_examples(subset)`
    fills only what comes after the first two of it. `ask(subset, model, case, *settings)` asks the model
    about the case on the table and fills `answer`.
    """

    open_subset: Callable
    draw_examples: Callable
    table: list
    case: gr.State
    ask: Callable
    settings: list
    answer: list


def build(store: Store, subset: gr.Dropdown, model: gr.Dropdown) -> Explore:
    """Lay out the tab, and connect what happens inside it."""
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
                placeholder=f"Drop an image here, or click\nany size, up to {MAX_BYTES >> 20} MB",
                elem_id="picture",
            )
            thumbnail = gr.HTML(min_height=96)
            gallery = gr.Gallery(
                columns=6, allow_preview=False, object_fit="fill", format="png", buttons=[],
                elem_id="examples", interactive=False,
            )  # fmt: skip
            with gr.Row():
                surprise = gr.Button("Surprise me", size="sm", min_width=90)
                mistake = gr.Button("A mistake", size="sm", min_width=90)
                # The box above takes what browsers call images, which DICOM files are not.
                scan = parts.file_button(
                    "DICOM file", size="sm", min_width=90, visible=dicom.available(), elem_id="dicom"
                )
        with gr.Column(scale=5, min_width=320):
            gr.HTML("<div class='panel-title'>Where it looks</div>")
            panel = maps.build(store, seen)
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>What it says</div>")
            answer = gr.HTML(min_height=300, elem_id="answer")
            level, with_views = parts.trust_controls()
            report.build(store, seen, asked_about, level)
            judge, judged = believe.build(store, seen, panel.settings, panel.moved)
    with gr.Accordion("Erase and ask again", open=False, elem_id="erase"):
        prepare, canvas = erase.build(store, seen)
    alike = similar.build(store, seen, answer)

    @parts.plain_errors
    def ask(subset, model, case: Case | None, level, with_views, *settings):
        case = parts.still(case)
        if case.subset != subset:
            return gr.skip()  # another subset was picked meanwhile, and is drawn next
        predictor = store.predictor(subset, model)
        prediction = predictor.predict(predictor.source(case.source), with_views)
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

    @parts.plain_errors
    def upload(subset, model, path):
        return gr.skip() if path is None else store.open_upload(subset, model, path)

    @parts.plain_errors
    def open_scan(subset, model, path):
        return on_table(store.open_upload(subset, model, path))

    def on_table(chosen: Case):
        return chosen, None  # the upload box is emptied: what is on the table is no longer its picture

    @parts.plain_errors
    def pick(subset, event: gr.SelectData):
        return on_table(store.examples(subset)[event.index])

    @parts.plain_errors
    def open_alike(subset, event: gr.EventData):
        return on_table(store.test_case(subset, int(event.index)))

    @parts.plain_errors
    def draw_lot(subset):
        return on_table(store.random_case(subset))

    @parts.plain_errors
    def draw_mistake(subset, model):
        return on_table(store.mistake(subset, model))

    def strip_of(subset, examples):
        real = store.has_data(subset)
        label = "Examples from the test split" if real else "Phantoms (drawings, not data) to try it on"
        strip = gr.update(
            value=[(figures.enlarge(one.source, 84), None) for one in examples],
            label=label,
            selected_index=None,
        )
        button = gr.Button("A mistake" if real else "A mistake (needs data)", interactive=real)
        return strip, button

    def draw_examples(subset):
        return strip_of(subset, store.examples(subset))

    def open_subset(subset):
        examples = store.examples(subset)
        return *on_table(examples[0]), *strip_of(subset, examples)

    @parts.plain_errors
    def answer_at(prediction, case, level):
        return parts.answer(parts.still(prediction), parts.still(case), level or None)

    private: dict[str, Any] = dict(api_visibility="private")
    asked: dict[str, Any] = dict(
        fn=ask,
        inputs=[subset, model, case, level, with_views, *panel.settings],
        outputs=[seen, asked_about, thumbnail, answer, *panel.outputs, *judged, *canvas],
        **private,
        concurrency_id="model",
        show_progress_on=[answer],
        trigger_mode="always_last",
    )
    # `change`, as `input` also comes, with the old picture, when the box is emptied.
    uploaded = picture.change(upload, [subset, model, picture], case, **private)
    uploaded.success(**asked)
    uploaded.failure(lambda: None, None, picture, show_progress="hidden", **private)
    scan.upload(open_scan, [subset, model, scan], [case, picture], **private).success(**asked)
    gallery.select(pick, subset, [case, picture], show_progress="hidden", **private).success(**asked)
    alike.select(open_alike, subset, [case, picture], show_progress="hidden", **private).success(**asked)
    surprise.click(draw_lot, subset, [case, picture], show_progress="hidden", **private).success(**asked)
    mistake.click(draw_mistake, [subset, model], [case, picture], show_progress="hidden", **private).success(
        **asked
    )
    with_views.input(**asked)
    level.select(answer_at, [seen, asked_about, level], answer, show_progress="hidden", **private)
    table = [case, picture, gallery, mistake]
    return Explore(open_subset, draw_examples, table, case, ask, asked["inputs"][3:], asked["outputs"])
