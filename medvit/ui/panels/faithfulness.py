"""Is this map faithful? What was measured over test images, and a deletion test on the current image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr

from medvit import explain, plots
from medvit.checkpoint import Checkpoint
from medvit.explain.faithfulness import HARDLY_CHANGED, insertion_deletion_curves
from medvit.explain.ranking import is_above_chance, measured, rank
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.ui import html
from medvit.ui.state import (
    AT_ONCE,
    NO_SPINNER,
    PRIVATE,
    STATE_SECONDS,
    Values,
    connect,
    require_state,
    show_user_errors,
)

if TYPE_CHECKING:
    from medvit.ui.panels.heatmap import HeatmapPanel


@dataclass(frozen=True, eq=False)
class FaithfulnessPanel:
    """The verdict on the current kind of map, and the test on the current image."""

    registry: Registry
    answer: gr.State
    heatmap: HeatmapPanel
    verdict: gr.HTML
    test: gr.Button
    plot: gr.Plot
    result: gr.HTML
    tested: gr.State  # the answer that `result` is about

    @property
    def outputs(self) -> set:
        """What `update` sets."""
        return {self.verdict, self.plot, self.result}

    def update(self, prediction: Prediction, method: str | None) -> Values:
        """The verdict on a kind of map; the result of an earlier test is cleared."""
        checkpoint = self.registry.checkpoint(prediction.subset, prediction.model)
        return {self.verdict: verdict(checkpoint, method)} | self.clear()

    def clear(self) -> Values:
        """Clear the result of the test."""
        return {self.plot: gr.Plot(visible=False), self.result: ""}

    @show_user_errors
    def update_method(self, values: Values) -> Values:
        """The verdict after another kind of map was chosen."""
        prediction = require_state(values[self.answer]).prediction
        return self.update(prediction, values[self.heatmap.method])

    @show_user_errors
    def test_image(self, values: Values, progress=gr.Progress()) -> Values:  # noqa: B008
        """The deletion test on the current image."""
        progress(0.1, "Blurring patch by patch")
        prediction = require_state(values[self.answer]).prediction
        options = self.heatmap.options(values, prediction)
        predictor = self.registry.predictor(prediction.subset, prediction.model)
        heatmap = predictor.heatmap(prediction, values[self.heatmap.method], options)
        (curves,) = insertion_deletion_curves(
            predictor.explainer, prediction.forward_pass, [heatmap], options.target
        )
        return {
            self.plot: gr.Plot(plots.insertion_deletion_curves(**vars(curves)), visible=True),
            self.result: html.render("faithfulness_test.html", areas=curves.areas()),
            self.tested: values[self.answer],
        }

    def discard(self, values: Values) -> Values:
        """Clear the result where another image was chosen while the test ran."""
        return gr.skip() if values[self.tested] is values[self.answer] else self.clear()


def build(registry: Registry, answer: gr.State, heatmap: HeatmapPanel) -> FaithfulnessPanel:
    """Lay out the panel for the map of `heatmap`; `answer` holds the `Answer` that is displayed."""
    gr.HTML(html.panel_title("Is this map faithful?"))
    panel = FaithfulnessPanel(
        registry,
        answer,
        heatmap,
        verdict=gr.HTML(elem_id="faithfulness"),
        test=gr.Button("Test it on this image", size="sm", elem_id="test-map"),
        plot=gr.Plot(show_label=False, container=False, visible=False),
        result=gr.HTML(),
        tested=gr.State(time_to_live=STATE_SECONDS),
    )
    finished = connect(
        panel.test.click,
        panel.test_image,
        {answer} | heatmap.controls,
        {panel.plot, panel.result, panel.tested},
        concurrency_id="model",
        show_progress_on=panel.result,
        **PRIVATE,
    )
    connect(finished.then, panel.discard, {answer, panel.tested}, {panel.plot, panel.result}, **AT_ONCE)
    connect(heatmap.method.change, panel.update_method, {answer, heatmap.method}, panel.outputs, **NO_SPINNER)
    for listener in heatmap.map_events:
        connect(listener, panel.clear, None, {panel.plot, panel.result}, **AT_ONCE)
    return panel


def verdict(checkpoint: Checkpoint, method: str | None) -> str:
    """A paragraph of HTML on how faithful a kind of map was over test images, from card.json."""
    methods = measured(checkpoint.card)
    if method not in methods:
        measure = "medvit faithfulness does it" if "test" in checkpoint.card else "there are no test images"
        return html.note(f"Not measured for this model ({measure}).")
    ranked = rank(checkpoint.card)
    return html.render(
        "faithfulness.html",
        images=checkpoint.card["explanations"]["images"],
        title=explain.METHODS[method].title,
        measured=methods[method],
        better=is_above_chance(methods[method]),
        rank=ranked.index(method) + 1,
        count=len(ranked),
        best=explain.METHODS[ranked[0]].title,
        best_gain=methods[ranked[0]]["insertion_deletion_gain"],
        hardly_changed=HARDLY_CHANGED,
    )
