"""The Explore tab: an image, where the model looks, what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import explain, figures
from medvit.images import MAX_BYTES
from medvit.predictor import Prediction
from medvit.ui import parts
from medvit.ui.store import Case, Store

MEAN = "mean"
DEEPEST = 99  # before a model is known: its last layer


@dataclass(frozen=True)
class Explore:
    """What the pickers above the tabs call.

    `open_subset(subset)` puts the first example on the table and fills `table`; `ask(subset, model, case,
    *settings)` asks the model about the case on the table and fills `answer`.
    """

    open_subset: Callable
    table: list
    case: gr.State
    ask: Callable
    settings: list
    answer: list


def _layers_and_heads(prediction: Prediction) -> tuple[int, int]:
    """How many there are to choose from; one of each stands for a model without attention."""
    if prediction.attentions is None:
        return 1, 1
    layers, heads = prediction.attentions.shape[:2]
    return layers, heads


def build(store: Store, subset: gr.Dropdown, model: gr.Dropdown) -> Explore:
    """Lay out the tab, and connect what happens inside it."""
    case = gr.State(time_to_live=3600)
    seen = gr.State(time_to_live=3600)
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
                surprise = gr.Button("Surprise me", size="sm")
                mistake = gr.Button("A mistake", size="sm")
        with gr.Column(scale=5, min_width=320):
            gr.HTML("<div class='panel-title'>Where it looks</div>")
            overlay = gr.Image(
                show_label=False,
                height=320,
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="overlay",
            )
            method = gr.Radio([], show_label=False, container=False)
            with gr.Row():
                layer = gr.Slider(1, DEEPEST, DEEPEST, step=1, label="Layer", min_width=120)
                head = gr.Dropdown([MEAN], label="Head", min_width=90)
                target = gr.Dropdown([], label="Class", min_width=120, visible=False)
                opacity = gr.Slider(0, 100, 45, step=5, label="Opacity, %", min_width=120)
            about = gr.HTML(elem_id="about")
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>What it says</div>")
            answer = gr.HTML(min_height=330, elem_id="answer")
            level, with_views = parts.trust_controls()

    controls = [method, layer, head, target]
    shown = [overlay, about]

    @parts.plain_errors
    def draw(prediction: Prediction, method, layer, head, target, opacity):
        predictor = store.predictor(prediction.subset, prediction.model)
        heads = None if head in (MEAN, None) else int(head) - 1
        classes = list(prediction.classes)
        values = predictor.heatmap(
            prediction, method, int(layer) - 1, heads, classes.index(target) if target in classes else None
        )
        image = figures.overlay(prediction.source, values, opacity / 100)
        words = explain.describe(values)
        alt = f"{explain.METHODS[method]} map over the image. {words}"
        return gr.Image(image, alt_text=alt), f"<span class='quiet'>{explain.ABOUT[method]} {words}</span>"

    @parts.plain_errors
    def ask(subset, model, case: Case, method, layer, head, target, opacity, level, with_views):
        predictor = store.predictor(subset, model)
        prediction = predictor.predict(predictor.source(case.source), with_views)
        methods = predictor.methods()
        method = method if method in methods else methods[0]
        layers, heads = _layers_and_heads(prediction)
        layer = min(layer, layers)
        head = head if head and (head == MEAN or int(head) <= heads) else MEAN
        target = target if target in prediction.classes and method == "grad_cam" else prediction.label
        updates = [
            gr.Radio([(explain.METHODS[name], name) for name in methods], value=method),
            *_settings(method, layers, layer, heads, head, prediction.classes, target),
        ]
        drawn = draw(prediction, method, layer, head, target, opacity)
        view = parts.thumbnail(prediction.source, case.origin)
        return [prediction, view, parts.answer(prediction, case, level or None), *updates, *drawn]

    def _settings(method, layers, layer, heads, head, classes, target):
        attention = method == "attention"
        return (
            gr.Slider(1, max(layers, 2), value=layer, visible=attention),
            gr.Dropdown([MEAN, *map(str, range(1, heads + 1))], value=head, visible=attention),
            gr.Dropdown(list(classes), value=target, visible=method == "grad_cam"),
        )

    def switch_method(prediction: Prediction, method, layer, head, target):
        layers, heads = _layers_and_heads(prediction)
        return _settings(method, layers, layer, heads, head, prediction.classes, target)

    @parts.plain_errors
    def upload(subset, model, path):
        return gr.skip() if path is None else store.open_upload(subset, model, path)

    def on_table(chosen: Case):
        return chosen, None  # the upload box is emptied: what is on the table is no longer its picture

    @parts.plain_errors
    def pick(subset, event: gr.SelectData):
        return on_table(store.examples(subset)[event.index])

    @parts.plain_errors
    def draw_lot(subset):
        return on_table(store.random_case(subset))

    @parts.plain_errors
    def draw_mistake(subset, model):
        return on_table(store.mistake(subset, model))

    @parts.plain_errors
    def open_subset(subset):
        examples = store.examples(subset)
        real = store.has_data(subset)
        label = "Examples from the test split" if real else "Phantoms (drawings, not data) to try it on"
        strip = gr.Gallery(
            [(figures.enlarge(one.source, 84), None) for one in examples], label=label, selected_index=None
        )
        button = gr.Button("A mistake" if real else "A mistake (needs data)", interactive=real)
        return *on_table(examples[0]), strip, button

    private: dict[str, Any] = dict(api_visibility="private")
    asked: dict[str, Any] = dict(
        fn=ask,
        inputs=[subset, model, case, *controls, opacity, level, with_views],
        outputs=[seen, thumbnail, answer, *controls, *shown],
        **private,
        concurrency_id="model",
        show_progress_on=[answer, overlay],
    )
    # `change`, as `input` also comes, with the old picture, when the box is emptied.
    uploaded = picture.change(upload, [subset, model, picture], case, **private)
    uploaded.success(**asked)
    uploaded.failure(lambda: None, None, picture, show_progress="hidden", **private)
    gallery.select(pick, subset, [case, picture], show_progress="hidden", **private).success(**asked)
    surprise.click(draw_lot, subset, [case, picture], show_progress="hidden", **private).success(**asked)
    mistake.click(draw_mistake, [subset, model], [case, picture], show_progress="hidden", **private).success(
        **asked
    )
    with_views.input(**asked)
    level.select(
        lambda prediction, case, level: parts.answer(prediction, case, level or None),
        [seen, case, level],
        answer,
        show_progress="hidden",
        **private,
    )
    drawn: dict[str, Any] = dict(
        fn=draw,
        inputs=[seen, *controls, opacity],
        outputs=shown,
        **private,
        show_progress="hidden",
        concurrency_id="model",
    )
    method.input(
        switch_method, [seen, *controls], [layer, head, target], show_progress="hidden", **private
    ).then(**drawn)
    for moved in (layer.input, opacity.input, head.select, target.select):
        moved(**drawn, trigger_mode="always_last")
    return Explore(
        open_subset, [case, picture, gallery, mistake], case, ask, asked["inputs"][3:], asked["outputs"]
    )
