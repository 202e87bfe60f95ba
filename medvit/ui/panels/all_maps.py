"""All maps of the current image side by side, each with its faithfulness."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import explain, plots
from medvit.explain.ranking import is_above_chance, measured
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.ui import html
from medvit.ui.components import map_grid
from medvit.ui.panels.heatmap import HeatmapPanel, unavailable
from medvit.ui.state import NO_SPINNER, PRIVATE, Values, connect, require_state, show_user_errors

OPACITY = 0.85
SIDE = 168  # pixels of a map

# After the section has been opened, the page scrolls to it.
SCROLL = """() => setTimeout(() => {
  const section = document.querySelector("#all-maps");
  section?.scrollIntoView({ block: "nearest" });
}, 100)"""


@dataclass(frozen=True, eq=False)
class AllMaps:
    """The section below the columns; it is computed while it is open. `answer` holds the `Answer`."""

    registry: Registry
    answer: gr.State
    heatmap: HeatmapPanel
    is_open: gr.State
    section: gr.Column
    grid: gr.HTML

    @show_user_errors
    def toggle(self, values: Values) -> Values:
        """Open the section, or close it."""
        is_open = not values[self.is_open]
        changes = {self.is_open: is_open, self.section: gr.Column(visible=is_open)}
        return changes | (self._draw(values) if is_open else {})

    @show_user_errors
    def update(self, values: Values) -> Values:
        """Follow a new answer while the section is open."""
        return self._draw(values) if values[self.is_open] and values[self.answer] else gr.skip()

    @show_user_errors
    def choose(self, values: Values, event: gr.EventData) -> Values:
        """Display the clicked map above."""
        prediction = require_state(values[self.answer]).prediction
        methods = self.registry.predictor(prediction.subset, prediction.model).methods()
        name = str(event.name)
        return self.heatmap.choose_method(values, name) if name in methods else gr.skip()

    def _draw(self, values: Values) -> Values:
        return {self.grid: render(self.registry, require_state(values[self.answer]).prediction)}


def build(registry: Registry, answer: gr.State, answer_text: gr.HTML, heatmap: HeatmapPanel) -> AllMaps:
    """Lay out the section, which the button "All maps" of the heatmap panel opens and closes.

    Args:
        answer: holds the `Answer` that is displayed.
        answer_text: changes with every new answer.
    """
    with gr.Column(visible=False, elem_id="all-maps") as section:
        gr.HTML(html.panel_title("All maps"))
        grid = map_grid.map_grid(min_height=220)
    panel = AllMaps(registry, answer, heatmap, gr.State(False), section, grid)
    inputs, event = {answer, panel.is_open}, PRIVATE | {"concurrency_id": "model"}
    changed = {panel.is_open, section, grid}
    opened = connect(heatmap.all_maps.click, panel.toggle, inputs, changed, show_progress_on=grid, **event)
    opened.success(None, js=SCROLL, **PRIVATE)
    connect(answer_text.change, panel.update, inputs, {grid}, show_progress_on=grid, **event)
    chosen = {answer} | heatmap.controls
    outputs = heatmap.outputs - {heatmap.layer_count, heatmap.unavailable}
    event = NO_SPINNER | {"concurrency_id": "map", "trigger_mode": "multiple"}
    connect(grid.select, panel.choose, chosen, outputs, **event)  # type: ignore[attr-defined]
    return panel


def render(registry: Registry, prediction: Prediction) -> str:
    """The picture and all its maps, for the predicted class, as HTML."""
    predictor = registry.predictor(prediction.subset, prediction.model)
    metrics = measured(predictor.checkpoint.card)
    maps = [
        _tile(name, predictor.heatmap(prediction, name), prediction, metrics.get(name))
        for name in predictor.methods()
    ]
    return html.render(
        "map_grid.html",
        picture=plots.enlarge(prediction.source, SIDE),
        label=prediction.label,
        maps=maps,
        missing=unavailable(predictor),
    )


def _tile(name: str, values: Any, prediction: Prediction, metrics: dict[str, float] | None) -> dict[str, Any]:
    """One map and how faithful maps of its kind are to this model."""
    kind = explain.METHODS[name]
    heatmap = explain.scale(values, kind.signed)
    return {
        "name": name,
        "title": kind.title,
        "picture": plots.overlay(prediction.source, heatmap, OPACITY, side=SIDE, by_value=True),
        "description": f"{kind.title} map. {explain.describe(heatmap)}",
        "gain": metrics and metrics["insertion_deletion_gain"],
        "above_chance": metrics is not None and is_above_chance(metrics),
    }
