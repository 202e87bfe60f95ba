"""Where the model looks: the map over the image, what it shows, and whether it can be believed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import explain, plots
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.explain import MapOptions
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.ui import parts
from medvit.ui.components.base import current
from medvit.ui.components.heatmap_view import overlay
from medvit.ui.components.heatmap_view import render as render_overlay
from medvit.ui.components.thumbnail_strip import film
from medvit.ui.components.thumbnail_strip import render as render_film

ALL_HEADS = "all"
DEEPEST = 99  # before a model is known: its last layer
ROLLOUTS = ("rollout", "gradient_rollout")


@dataclass(frozen=True)
class Maps:
    """What the Explore tab calls: `show(prediction, layers, *settings)` draws everything here.

    It returns the method shown, another one where the model cannot give the one set, and fills `outputs`.
    `layers`: holds how many the model on the table has.
    `moved`: listeners to a visitor's asking for another map by the same method.
    """

    show: Callable
    layers: gr.State
    settings: list
    outputs: list
    moved: list


def build(registry: Registry, seen: gr.State) -> Maps:
    """Lay out the panel, and connect what happens inside it. `seen` holds the Prediction on the table."""
    patch, count = gr.State(), gr.State(DEEPEST)
    over = overlay(elem_id="overlay")
    method = current(gr.Radio)([], show_label=False, container=False, elem_id="methods")
    with gr.Row():
        layer = current(gr.Slider)(1, DEEPEST, DEEPEST, step=1, label="Layer", min_width=110, buttons=[])
        head = current(gr.Dropdown)([ALL_HEADS], label="Head", min_width=80)
        target = current(gr.Dropdown)([], label="Why this class, or why not", min_width=140, visible=False)
        fusion = gr.Dropdown(["mean", "max", "min"], label="Heads by", min_width=80, visible=False)
        discard = gr.Slider(
            0, 90, 0, step=10, label="Drop weakest, %", min_width=110, buttons=[], visible=False
        )
        opacity = gr.Slider(0, 100, 50, step=5, label="Opacity, %", min_width=110, buttons=[])
    about = gr.HTML(elem_id="about")
    heads, layers = film(elem_id="heads"), film(elem_id="layers")
    settings = [method, layer, head, target, fusion, discard, patch, opacity]
    drawn = [over, about, heads, layers]

    @parts.show_user_errors
    def draw(prediction: Prediction, method, layer, head, target, fusion, discard, patch, opacity):
        wanted = choice(parts.require_state(prediction), layer, head, target, fusion, discard, patch)
        kind = explain.METHODS[method]
        predictor = registry.predictor(prediction.subset, prediction.model)
        values = explain.scale(predictor.heatmap(prediction, method, wanted), kind.signed)
        words = explain.describe(values)
        image = plots.overlay(prediction.source, values, opacity / 100)
        subject = f" for {short_name(prediction.classes[wanted.target])}" if kind.by_class else ""
        return [
            render_overlay(image, f"{kind.title} map{subject} over the image. {words}"),
            f"<p class='quiet'>{_origin(prediction, method, wanted)}{kind.about} {words}</p>",
            *_films(predictor, prediction, wanted),
        ]

    def show(prediction: Prediction, count, method, layer, head, target, fusion, discard, patch, opacity):
        methods = registry.predictor(prediction.subset, prediction.model).methods()
        method = method if method in methods else methods[0]
        depth, width = _layers_and_heads(prediction)
        layer = depth if layer >= count else min(layer, depth)  # the last stays the last
        head = head if head and (head == ALL_HEADS or int(head) <= width) else ALL_HEADS
        target = prediction.label  # the question starts anew with each image
        controls = _controls(prediction, method, layer, head, target)
        options = [(explain.METHODS[name].title, name) for name in methods]
        chosen = layer, head, target, fusion, discard, None, opacity
        outputs = [gr.Radio(options, value=method), *controls, None, depth]
        return method, [*outputs, *draw(prediction, method, *chosen)]

    @parts.show_user_errors
    def switch(prediction: Prediction, method, layer, head, target):
        return _controls(parts.require_state(prediction), method, layer, head, target)

    @parts.show_user_errors
    def point(prediction: Prediction, patch, event: gr.EventData):
        """A click on the image: what the patch there attends to; a second click on it: the class token."""
        if parts.require_state(prediction).forward_pass.attentions is None:
            raise MedvitError("A patch of a CNN attends to nothing: this model has no attention.")
        rows, columns = prediction.forward_pass.grid
        row, column = min(int(event.y * rows), rows - 1), min(int(event.x * columns), columns - 1)
        clicked = row * columns + column
        return "attention", None if clicked == patch else clicked

    @parts.show_user_errors
    def pick_head(prediction: Prediction, head, event: gr.EventData):
        chosen = str(min(int(event.index) + 1, _layers_and_heads(parts.require_state(prediction))[1]))
        return "attention", ALL_HEADS if chosen == head else chosen

    @parts.show_user_errors
    def pick_layer(prediction: Prediction, event: gr.EventData):
        return "attention", min(int(event.index) + 1, _layers_and_heads(parts.require_state(prediction))[0])

    quiet: dict[str, Any] = dict(
        api_visibility="private", show_progress="hidden", trigger_mode="always_last", concurrency_id="map"
    )
    redraw: dict[str, Any] = dict(fn=draw, inputs=[seen, *settings], outputs=drawn, **quiet)
    controls = [layer, head, target, fusion, discard]
    adjust: dict[str, Any] = dict(
        fn=switch, inputs=[seen, method, layer, head, target], outputs=controls, **quiet
    )
    method.input(**adjust).then(**redraw)
    moved = [layer.input, discard.input, head.select, target.select, fusion.select]
    for listener in (opacity.input, *moved):
        listener(**redraw)
    for clicked, fn, inputs, outputs in (
        (over, point, [seen, patch], [method, patch]),
        (heads, pick_head, [seen, head], [method, head]),
        (layers, pick_layer, [seen], [method, layer]),
    ):
        clicked.select(fn, inputs, outputs, **quiet).success(**adjust).then(**redraw)
    clicks = [over.select, heads.select, layers.select]
    return Maps(show, count, settings, [method, *controls, patch, count, *drawn], moved + clicks)


def choice(prediction: Prediction, layer, head, target, fusion, discard, patch) -> MapOptions:
    """What the controls say, as the library takes it."""
    classes = list(prediction.classes)
    return MapOptions(
        target=classes.index(target) if target in classes else prediction.top,
        layer=int(layer) - 1,
        head=None if head in (ALL_HEADS, None) else int(head) - 1,
        fusion=fusion,
        discard=discard / 100,
        patch=patch,
    )


def _layers_and_heads(prediction: Prediction) -> tuple[int, int]:
    """How many there are to choose from; one of each stands for a model without attention."""
    attentions = prediction.forward_pass.attentions
    return (1, 1) if attentions is None else (attentions.shape[0], attentions.shape[1])


def _controls(prediction: Prediction, method, layer, head, target):
    """Show the controls that a method has: layer, head, class, fusion of heads, share to drop."""
    depth, width = _layers_and_heads(prediction)
    attention, rollout = method == "attention", method in ROLLOUTS
    return (
        gr.Slider(1, max(depth, 2), value=layer, visible=attention),
        gr.Dropdown([ALL_HEADS, *map(str, range(1, width + 1))], value=head, visible=attention),
        gr.Dropdown(
            [(short_name(name), name) for name in prediction.classes],
            value=target,
            visible=explain.METHODS[method].by_class,
        ),
        gr.Dropdown(visible=rollout),
        gr.Slider(visible=rollout),
    )


def _origin(prediction: Prediction, method: str, wanted: MapOptions) -> str:
    if method != "attention":
        return ""
    if wanted.patch is None:
        return "From the class token; click a patch of the image to see what it attends to. "
    row, column = divmod(wanted.patch, prediction.forward_pass.grid[1])
    return f"From the patch in row {row + 1}, column {column + 1}; click it again for the class token. "


def _films(predictor, prediction: Prediction, wanted: MapOptions) -> list[str]:
    """All heads of the layer, and all layers, as small maps; nothing where there is no attention."""
    if prediction.forward_pass.attentions is None:
        return ["", ""]
    depth, width = _layers_and_heads(prediction)

    def small(**changed):
        values = predictor.heatmap(prediction, "attention", MapOptions(0, patch=wanted.patch, **changed))
        return explain.scale(values)

    heads = [small(layer=wanted.layer, head=head) for head in range(width)]
    layers = [small(layer=layer, head=wanted.head) for layer in range(depth)]
    return [
        render_film(
            f"Every {name}; click one to enlarge it",
            [plots.coloured(values) for values in maps],
            [f"Attention, {name} {i}. {explain.describe(values)}" for i, values in enumerate(maps, 1)],
            chosen,
        )
        for maps, chosen, name in (
            (heads, wanted.head, f"head of layer {wanted.layer + 1}"),
            (layers, wanted.layer, "layer"),
        )
    ]
