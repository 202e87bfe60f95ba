"""Operating point of a two-class model: a threshold and its sensitivity, specificity, PPV and NPV."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
import numpy as np

from medvit import plots
from medvit.checkpoint import Checkpoint
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.evaluation.metrics import probabilities
from medvit.inference.registry import Registry
from medvit.reliability import operating_point
from medvit.reliability.apply import Reliability
from medvit.ui import html
from medvit.ui.panels.tables import Table, interval, render
from medvit.ui.state import NO_SPINNER, Values, connect, require_state, show_user_errors


@dataclass(frozen=True, eq=False)
class OperatingPointPanel:
    """The components of the panel, which is hidden unless there are two classes."""

    registry: Registry
    displayed: gr.State
    panel: gr.Column
    summary: gr.HTML
    curve: gr.Plot
    threshold: gr.Slider
    presets: tuple[gr.Button, ...]
    prevalence: gr.Slider
    table: gr.HTML

    @property
    def outputs(self) -> set[Any]:
        """All components that `update` changes."""
        return {self.panel, self.summary, self.curve, self.threshold, self.prevalence, self.table}

    def update(self, checkpoint: Checkpoint) -> Values:
        """Display a checkpoint at a threshold of 0.5 and the prevalence of the test split."""
        if checkpoint.dataset.task != "binary-class":
            return {self.panel: gr.Column(visible=False)}
        score, truth = positive_scores(checkpoint)
        prevalence = 100 * float(truth.mean())
        return {
            self.panel: gr.Column(visible=True),
            self.summary: summary(checkpoint, score, truth),
            self.threshold: 0.5,
            self.prevalence: round(prevalence, 1),
        } | self._draw(checkpoint, 0.5, prevalence)

    @show_user_errors
    def redraw(self, values: Values) -> Values:
        """Follow the two sliders."""
        checkpoint = self.registry.checkpoint(*require_state(values[self.displayed]))
        return self._draw(checkpoint, values[self.threshold], values[self.prevalence])

    @show_user_errors
    def apply_preset(self, name: str, values: Values) -> Values:
        """Move the threshold to a preset that was chosen on validation."""
        checkpoint = self.registry.checkpoint(*require_state(values[self.displayed]))
        trust = Reliability.of(checkpoint)
        if trust is None or name not in trust.thresholds:
            raise MedvitError(f"No threshold was chosen for this model. {checkpoint.trust_problem}".strip())
        threshold = trust.thresholds[name]
        return {self.threshold: threshold} | self._draw(checkpoint, threshold, values[self.prevalence])

    def _draw(self, checkpoint: Checkpoint, threshold: float, prevalence: float) -> Values:
        score, truth = positive_scores(checkpoint)
        point = operating_point.at(score, truth, threshold, prevalence / 100)
        curve = plots.operating_point(score, truth, threshold, positive_class(checkpoint))
        return {self.curve: curve, self.table: render(metrics_table(point))}


def build(registry: Registry, displayed: gr.State) -> OperatingPointPanel:
    """Lay out the panel.

    Args:
        displayed: the state that holds the (subset, model) on display.
    """
    with gr.Column(visible=False) as column:
        summary_html = gr.HTML()
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                curve = gr.Plot(show_label=False, container=False)
            with gr.Column(scale=7, min_width=320):
                label = "Threshold on the calibrated probability"
                threshold = gr.Slider(0, 1, 0.5, step=0.01, label=label, elem_id="threshold")
                with gr.Row():
                    presets = tuple(gr.Button(name, size="sm") for name in operating_point.PRESETS)
                label = "Prevalence where it would be used, %"
                prevalence = gr.Slider(0.1, 99.9, 25, step=0.1, label=label, elem_id="prevalence")
                table = gr.HTML(elem_id="operating-point")
    panel = OperatingPointPanel(
        registry, displayed, column, summary_html, curve, threshold, presets, prevalence, table
    )
    for slider in (threshold, prevalence):
        inputs, latest = {displayed, threshold, prevalence}, {"trigger_mode": "always_last"}
        connect(slider.input, panel.redraw, inputs, {curve, table}, **NO_SPINNER | latest)
    for button, name in zip(presets, operating_point.PRESETS, strict=True):
        apply = partial(panel.apply_preset, name)
        connect(button.click, apply, {displayed, prevalence}, {threshold, curve, table}, **NO_SPINNER)
    return panel


def positive_class(checkpoint: Checkpoint) -> str:
    """Name of the class that sensitivity is about."""
    return checkpoint.dataset.classes[checkpoint.dataset.settings.positive_class]


def positive_scores(checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the positive class and whether it is true, both (N,), on the test split."""
    trust, logits = Reliability.of(checkpoint), checkpoint.test_logits.astype(np.float64)
    probs = trust.calibrated(logits) if trust else probabilities(logits)
    positive = checkpoint.dataset.settings.positive_class
    return probs[:, positive], checkpoint.test_labels == positive


def summary(checkpoint: Checkpoint, score: np.ndarray, truth: np.ndarray) -> str:
    """The title of the panel and the areas under the curves as HTML."""
    areas = checkpoint.card.get("trust", {}).get("operating") or operating_point.areas(score, truth)
    return html.render(
        "operating_point.html", name=short_name(positive_class(checkpoint)), areas=areas, interval=interval
    )


def metrics_table(point: dict[str, Any]) -> Table:
    """Sensitivity, specificity, PPV and NPV at a threshold, as `operating_point.at` returns them."""
    with_disease, without = point["tp"] + point["fn"], point["tn"] + point["fp"]
    rows = [
        (name, f"{point[key]:.1%}", interval(limits), count) if limits else (name, "–", "", count)
        for key, name, count in (
            ("sensitivity", "sensitivity: positives that it detects", f"{point['tp']} of {with_disease}"),
            ("specificity", "specificity: negatives that it rules out", f"{point['tn']} of {without}"),
            ("ppv", "PPV: correct when it says positive", ""),
            ("npv", "NPV: correct when it says negative", ""),
        )
        for limits in [point[f"{key}_interval"]]
    ]
    return Table(
        ("", "value", "95 % interval", "test images"),
        rows,
        f"PPV and NPV at a prevalence of {point['prevalence']:.1%}. Wilson intervals; those of PPV and NPV "
        "on the logit scale.",
    )
