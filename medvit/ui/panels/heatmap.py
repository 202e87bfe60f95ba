"""Where the model looks: the heatmap over the image, its controls, and small maps of all heads and layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import explain, plots
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.explain import MapOptions
from medvit.explain.ranking import is_above_chance, measured
from medvit.inference.predictor import Prediction, Predictor
from medvit.inference.registry import Registry
from medvit.ui import html
from medvit.ui.components import heatmap_view, thumbnail_strip
from medvit.ui.components.base import lenient
from medvit.ui.panels import attention_strips
from medvit.ui.panels.attention_strips import layers_and_heads
from medvit.ui.state import NO_SPINNER, Values, connect, require_state, show_user_errors

ALL_HEADS = "all"
MANY_CLASSES = 20
DEEPEST = 99  # before a model is known: its last layer
ROLLOUTS = ("rollout", "gradient_rollout")


@dataclass(frozen=True, eq=False)
class HeatmapPanel:
    """The map of the current answer, and its controls.

    `answer` holds the `Answer` that is displayed, `patch` the patch whose attention is displayed (None: the
    class token), and `layer_count` the number of layers of the current model.
    """

    registry: Registry
    answer: gr.State
    view: gr.HTML
    method: gr.Radio
    unavailable: gr.HTML
    all_maps: gr.Button
    layer: gr.Slider
    head: gr.Dropdown
    target: gr.Dropdown
    head_fusion: gr.Dropdown
    discard_ratio: gr.Slider
    opacity: gr.Slider
    about: gr.HTML
    heads: gr.HTML
    layers: gr.HTML
    patch: gr.State
    layer_count: gr.State

    @property
    def controls(self) -> set:
        """What `options` and `update` read."""
        return {
            self.method, self.layer, self.head, self.target, self.head_fusion, self.discard_ratio,
            self.opacity, self.patch, self.layer_count,
        }  # fmt: skip

    @property
    def outputs(self) -> set:
        """What `update` sets."""
        return self.controls - {self.opacity} | {
            self.unavailable, self.view, self.about, self.heads, self.layers,
        }  # fmt: skip

    @property
    def map_events(self) -> list:
        """Listeners to a visitor's request for another map by the same method."""
        inputs = [self.layer.input, self.discard_ratio.input]
        selected = (self.head, self.target, self.head_fusion, self.view, self.heads, self.layers)
        return inputs + [component.select for component in selected]

    def options(self, values: Values, prediction: Prediction) -> MapOptions:
        """The controls as the library takes them."""
        classes, target, head = list(prediction.classes), values[self.target], values[self.head]
        return MapOptions(
            target=classes.index(target) if target in classes else prediction.top,
            layer=int(values[self.layer]) - 1,
            head=None if head in (ALL_HEADS, None) else int(head) - 1,
            head_fusion=values[self.head_fusion],
            discard_ratio=values[self.discard_ratio] / 100,
            patch=values[self.patch],
        )

    def adapt(self, values: Values, prediction: Prediction) -> Values:
        """The values of the controls as they suit a new prediction.

        A map that its model cannot give, or no map, is replaced by its most faithful one; the last layer
        stays the last; the class is the predicted one.
        """
        predictor = self.registry.predictor(prediction.subset, prediction.model)
        depth, width = layers_and_heads(prediction)
        method, layer, head = values[self.method], values[self.layer], values[self.head]
        if method not in predictor.methods():
            method = predictor.explainer.best_method()
        is_last = layer >= values[self.layer_count]
        has_head = head == ALL_HEADS or (head and int(head) <= width)
        return values | {
            self.method: method,
            self.layer: depth if is_last else min(layer, depth),
            self.head: head if has_head else ALL_HEADS,
            self.target: prediction.label,
            self.patch: None,
            self.layer_count: depth,
        }

    def update(self, prediction: Prediction, values: Values) -> Values:
        """Everything that the panel displays of a new prediction; `values` as `adapt` returned them."""
        predictor = self.registry.predictor(prediction.subset, prediction.model)
        choices = method_choices(predictor.checkpoint.card, predictor.methods())
        return {
            self.method: gr.Radio(choices, value=values[self.method]),
            self.unavailable: html.render("unavailable_maps.html", reasons=unavailable(predictor)),
            self.patch: values[self.patch],
            self.layer_count: values[self.layer_count],
            **self._set_controls(prediction, values),
            **self.draw(prediction, values),
        }

    def draw(self, prediction: Prediction, values: Values) -> Values:
        """The map that the controls ask for, what it shows in words, and the small maps."""
        method, options = values[self.method], self.options(values, prediction)
        kind = explain.METHODS[method]
        predictor = self.registry.predictor(prediction.subset, prediction.model)
        heatmap = explain.scale(predictor.heatmap(prediction, method, options), kind.signed)
        summary = explain.describe(heatmap)
        subject = f" for {short_name(prediction.classes[options.target])}" if kind.by_class else ""
        heads, layers = attention_strips.render(predictor, prediction, options)
        forward_pass = prediction.forward_pass
        has_attention = forward_pass.readout is not None
        return {
            self.view: heatmap_view.render(
                plots.enlarge(prediction.source),
                plots.overlay(prediction.source, heatmap, values[self.opacity] / 100, by_value=True),
                f"{kind.title} map{subject} over the image. {summary}",
                forward_pass.grid if has_attention else None,
            ),
            self.about: html.note(f"{_origin(prediction, method, options)}{kind.about} {summary}"),
            self.heads: heads,
            self.layers: layers,
        }

    @show_user_errors
    def redraw(self, values: Values) -> Values:
        """The map after a control was moved."""
        return self.draw(require_state(values[self.answer]).prediction, values)

    @show_user_errors
    def change_method(self, values: Values) -> Values:
        """The controls and the map of another method."""
        return self._switch(values, {})

    def choose_method(self, values: Values, method: str) -> Values:
        """Display the map of a method that was chosen elsewhere."""
        return {self.method: method} | self._switch(values | {self.method: method}, {})

    @show_user_errors
    def click_patch(self, values: Values, event: gr.EventData) -> Values:
        """The attention of the clicked patch; a second click on it gives that of the class token."""
        forward_pass = require_state(values[self.answer]).prediction.forward_pass
        if forward_pass.attentions is None:
            raise MedvitError("This model has no attention, so a patch attends to nothing.")
        rows, columns = forward_pass.grid
        row, column = min(int(event.y * rows), rows - 1), min(int(event.x * columns), columns - 1)
        patch = row * columns + column
        return self._switch(values, {self.patch: None if patch == values[self.patch] else patch})

    @show_user_errors
    def click_head(self, values: Values, event: gr.EventData) -> Values:
        """The attention of the clicked head; a second click on it gives the mean of all heads."""
        _, width = layers_and_heads(require_state(values[self.answer]).prediction)
        head = str(min(int(event.index) + 1, width))
        return self._switch(values, {self.head: ALL_HEADS if head == values[self.head] else head})

    @show_user_errors
    def click_layer(self, values: Values, event: gr.EventData) -> Values:
        """The attention of the clicked layer."""
        depth, _ = layers_and_heads(require_state(values[self.answer]).prediction)
        return self._switch(values, {self.layer: min(int(event.index) + 1, depth)})

    def _switch(self, values: Values, clicked: Values) -> Values:
        """The controls and the map after another method was chosen, or after a click: attention then."""
        prediction = require_state(values[self.answer]).prediction
        changes = {self.method: "attention"} | clicked if clicked else {}
        values = values | changes
        return changes | self._set_controls(prediction, values) | self.draw(prediction, values)

    def _set_controls(self, prediction: Prediction, values: Values) -> Values:
        """Display the controls that the method has."""
        depth, width = layers_and_heads(prediction)
        method = values[self.method]
        is_attention, is_rollout = method == "attention", method in ROLLOUTS
        heads = [ALL_HEADS, *map(str, range(1, width + 1))]
        classes = [(short_name(name), name) for name in class_order(prediction)]
        by_class = explain.METHODS[method].by_class
        return {
            self.layer: gr.Slider(1, max(depth, 2), value=values[self.layer], visible=is_attention),
            self.head: gr.Dropdown(heads, value=values[self.head], visible=is_attention),
            self.target: gr.Dropdown(classes, value=values[self.target], visible=by_class),
            self.head_fusion: gr.Dropdown(visible=is_rollout),
            self.discard_ratio: gr.Slider(visible=is_rollout),
        }


def build(registry: Registry, answer: gr.State) -> HeatmapPanel:
    """Lay out the panel; `answer` holds the `Answer` that is displayed."""
    view = heatmap_view.heatmap_view(elem_id="heatmap")
    with gr.Row(elem_id="map-buttons"):
        method = lenient(gr.Radio)([], show_label=False, container=False, elem_id="methods")
        unavailable_maps = gr.HTML(elem_id="unavailable")
        all_maps = gr.Button("All maps", size="sm", min_width=80, scale=0, elem_id="open-all-maps")
    small: dict[str, Any] = dict(min_width=110, buttons=[])
    with gr.Row(elem_id="map-controls"):
        panel = HeatmapPanel(
            registry,
            answer,
            view,
            method,
            unavailable_maps,
            all_maps,
            layer=lenient(gr.Slider)(1, DEEPEST, DEEPEST, step=1, label="Layer", visible=False, **small),
            head=lenient(gr.Dropdown)([ALL_HEADS], label="Head", min_width=80, visible=False),
            target=lenient(gr.Dropdown)([], label="Class to explain", min_width=140),
            head_fusion=gr.Dropdown(
                ["mean", "max", "min"], label="Heads fused by", min_width=80, visible=False
            ),
            discard_ratio=gr.Slider(0, 90, 0, step=10, label="Discard weakest, %", visible=False, **small),
            opacity=gr.Slider(0, 100, 85, step=5, label="Opacity, %", **small),
            about=gr.HTML(elem_id="about", render=False),
            heads=thumbnail_strip.thumbnail_strip(elem_id="heads", render=False),
            layers=thumbnail_strip.thumbnail_strip(elem_id="layers", render=False),
            patch=gr.State(),
            layer_count=gr.State(DEEPEST),
        )
    for component in (panel.about, panel.heads, panel.layers):
        component.render()
    _connect(panel)
    return panel


def _connect(panel: HeatmapPanel) -> None:
    """Connect the controls and the clicks to the map."""
    event: dict[str, Any] = NO_SPINNER | dict(trigger_mode="always_last", concurrency_id="map")
    inputs = {panel.answer} | panel.controls
    drawn = {panel.view, panel.about, panel.heads, panel.layers}
    moved = (panel.layer.input, panel.discard_ratio.input, panel.opacity.input)
    selected = (panel.head.select, panel.target.select, panel.head_fusion.select)
    for listener in (*moved, *selected):
        connect(listener, panel.redraw, inputs, drawn, **event)
    outputs = panel.outputs - {panel.layer_count}
    connect(panel.method.input, panel.change_method, inputs, outputs, **event)
    event["trigger_mode"] = "multiple"  # `always_last` would repeat the first click with its place
    for listener, function in (
        (panel.view.select, panel.click_patch),
        (panel.heads.select, panel.click_head),
        (panel.layers.select, panel.click_layer),
    ):
        connect(listener, function, inputs, outputs, **event)


def method_choices(card: Mapping[str, Any], methods: Iterable[str]) -> list[tuple[str, str]]:
    """(title, name) of maps; a ✓ marks those whose faithfulness was measured to be above chance."""
    metrics = measured(card)
    faithful = {name for name in metrics if is_above_chance(metrics[name])}
    titles = {name: explain.METHODS[name].title for name in methods}
    return [(f"{title} ✓" if name in faithful else title, name) for name, title in titles.items()]


def class_order(prediction: Prediction) -> Sequence[str]:
    """The classes in their own order, or the most probable first where there are many to search in."""
    if len(prediction.classes) <= MANY_CLASSES:
        return prediction.classes
    return [prediction.classes[i] for i in (-prediction.display_probs).argsort(kind="stable")]


def unavailable(predictor: Predictor) -> dict[str, str]:
    """Title of each map that a model cannot give -> the reason."""
    return {explain.METHODS[name].title: reason for name, reason in predictor.unavailable().items()}


def _origin(prediction: Prediction, method: str, options: MapOptions) -> str:
    """Which token the attention starts from, and how to change that."""
    if method != "attention":
        return ""
    readout = prediction.forward_pass.readout
    single = readout is not None and int((readout > 0).sum()) == 1
    start = "the class token" if single else "the tokens that the classifier reads"
    if options.patch is None:
        return f"From {start}; click a patch of the image to see what it attends to. "
    row, column = divmod(options.patch, prediction.forward_pass.grid[1])
    return f"From the patch in row {row + 1}, column {column + 1}; click it again for {start}. "
