"""How far to trust a model: calibration, prediction sets, out-of-distribution detection and robustness."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from medvit import plots
from medvit.checkpoint import Checkpoint
from medvit.data import title as dataset_title
from medvit.evaluation.calibration_error import compare_with_floor, confidence
from medvit.evaluation.metrics import mcnemar, probabilities
from medvit.evaluation.model_card import TOO_FEW_TO_CALIBRATE, coverage_sentences, unchanged_by_calibration
from medvit.inference.registry import Registry
from medvit.reliability import apply
from medvit.text import interval, p_value
from medvit.ui import html
from medvit.ui.html import Cell
from medvit.ui.panels import operating_point
from medvit.ui.panels.operating_point import OperatingPointPanel
from medvit.ui.panels.tables import Table, render
from medvit.ui.server.responses import displayed_folder
from medvit.ui.state import Values

NOT_MEASURED = "The reliability of this model was not measured. `medvit evaluate --fit {folder}` measures it."


@dataclass(frozen=True, eq=False)
class ReliabilityPanel:
    """The components of the panel."""

    operating_point: OperatingPointPanel
    diagram: gr.Plot
    calibration: gr.HTML
    tables: gr.HTML
    corruptions: gr.Column
    robustness: gr.Plot
    draw: Callable[[str, str], tuple[Any, ...]]  # (subset, model) -> values of the four above, and Checkpoint

    @property
    def outputs(self) -> set[Any]:
        """All components that `update` changes."""
        own = {self.diagram, self.calibration, self.tables, self.corruptions, self.robustness}
        return own | self.operating_point.outputs

    def update(self, subset: str, model: str) -> Values:
        """Display a model."""
        checkpoint, diagram, calibration, others, robustness = self.draw(subset, model)
        return {
            self.diagram: diagram,
            self.calibration: calibration,
            self.tables: others,
            self.corruptions: gr.Column(visible=robustness is not None),
            self.robustness: robustness,
        } | self.operating_point.update(checkpoint)


def build(registry: Registry, displayed: gr.State) -> ReliabilityPanel:
    """Lay out the panel.

    Args:
        displayed: the state that holds the (subset, model) on display.
    """
    operating = operating_point.build(registry, displayed)
    gr.HTML(html.panel_title("How far to trust it"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            diagram = gr.Plot(show_label=False, container=False)
        with gr.Column(scale=7, min_width=320):
            calibration_table = gr.HTML()
    reliability_tables = gr.HTML(elem_id="reliability")
    with gr.Column(visible=False) as corruptions:
        gr.HTML(html.panel_title("Robustness to corruptions (MedMNIST-C, 5 severities)"))
        robustness = gr.Plot(show_label=False, container=False)

    @lru_cache(128)
    def draw(subset: str, model: str) -> tuple[Any, ...]:
        checkpoint = registry.checkpoint(subset, model)
        names = [name for _, name in registry.model_choices(subset) if name != model]
        other_models = [registry.checkpoint(subset, name) for name in names]
        corrupted = checkpoint.card.get("robustness")
        return (
            checkpoint,
            reliability_diagram(checkpoint),
            calibration_html(checkpoint),
            render(*tables(checkpoint, other_models)),
            plots.corruption_errors(corrupted["errors"], corrupted["clean"]) if corrupted else None,
        )

    return ReliabilityPanel(
        operating, diagram, calibration_table, reliability_tables, corruptions, robustness, draw
    )


def reliability_diagram(checkpoint: Checkpoint) -> go.Figure:
    """Plot accuracy over confidence on the test split, before and after calibration."""
    logits, multi_label = checkpoint.test_logits.astype(np.float64), checkpoint.dataset.multi_label
    probs = {"uncalibrated": probabilities(logits, multi_label)}
    trust = apply.Reliability.of(checkpoint)
    if trust and trust.is_calibrated:
        probs["calibrated"] = trust.calibrated(logits, multi_label)
    labels = checkpoint.test_labels
    return plots.reliability_diagram({name: confidence(each, labels) for name, each in probs.items()})


def calibration_html(checkpoint: Checkpoint) -> str:
    """The table of calibration, or why there is none."""
    section = _measured(checkpoint)
    if section is None:
        return html.note(
            checkpoint.trust_problem or NOT_MEASURED.format(folder=displayed_folder(checkpoint.folder))
        )
    return render(calibration_table(section))


def _measured(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The section "trust" of the card, if it belongs to the trust.npz that is in use."""
    section = checkpoint.card.get("trust", {})
    return section if checkpoint.trust is not None and "tta" in section else None


def tables(checkpoint: Checkpoint, other_models: Sequence[Checkpoint]) -> list[Table]:
    """The tables below the reliability diagram, as far as the card has their metrics."""
    result = []
    if section := _measured(checkpoint):
        result.append(ood_table(section, checkpoint))
        if "prediction_sets" in section:
            result.append(prediction_sets_table(section["prediction_sets"]))
    if other_models and not checkpoint.dataset.multi_label:
        result.append(other_models_table(checkpoint, other_models))
    return result


def calibration_table(section: dict[str, Any]) -> Table:
    """Calibration error, Brier score and log-loss before and after calibration and with augmentation."""
    tta, n = section["tta"], section["n"]
    accuracy = f"{tta['accuracy_before']:.1%}" if tta["n"] == n else ""
    lines = [("uncalibrated", section["before"], accuracy), ("calibrated", section["after"], accuracy)]
    if tta["n"] != n:
        lines.append((f"calibrated, {tta['n']:,} of them", tta["before"], f"{tta['accuracy_before']:.1%}"))
    lines.append((f"test-time augmentation, {tta['count']} copies", tta["after"], f"{tta['accuracy']:.1%}"))
    rows = [
        (name, *(f"{metrics[key]:.3f}" for key in ("ece", "ece_floor", "brier", "nll")), correct)
        for name, metrics, correct in lines
    ]
    unchanged = f"{TOO_FEW_TO_CALIBRATE} " if unchanged_by_calibration(section) else ""
    return Table(
        ("", "ECE", "by chance alone", "Brier", "NLL", "accuracy"),
        rows,
        "ECE: mean distance between confidence and accuracy, in 15 bins of equally many images. By chance "
        "alone: the ECE of a perfectly calibrated model on as many images. "
        f"{unchanged}Calibrated: {compare_with_floor(section['after'])}. The augmented copies agree to "
        f"{tta['tta_agreement']:.1%}.",
    )


def prediction_sets_table(sets: dict[str, Any]) -> Table:
    """Coverage and size of the prediction sets at each level."""
    rows: list[Sequence[Cell]] = []
    for level, metrics in sets["levels"].items():
        if not metrics["possible"]:
            rows.append((f"{float(level):.0%}", "not possible", "–", "–"))
            continue
        by_size = "\n".join(
            f"{size}: {part['coverage']:.0%} of {part['images']:,}"
            for size, part in metrics["by_size"].items()
        )
        coverage = f"{metrics['coverage']:.1%} ({interval(metrics['coverage_interval'])})"
        rows.append((f"{float(level):.0%}", coverage, f"{metrics['mean_size']:.2f}", by_size))
    return Table(
        ("level", "coverage", "mean size", "coverage by size"),
        rows,
        "A prediction set should contain the true class as often as its level says. "
        f"{coverage_sentences(sets)}",
        "Prediction sets",
        css="lines",
    )


def ood_table(section: dict[str, Any], checkpoint: Checkpoint) -> Table:
    """How many images of each kind are accepted as in distribution."""
    ood = section["ood"]
    title = "Out-of-distribution detection"
    if "kinds" not in ood:
        return Table((), (), ood.get("missing", ""), title)
    own = f"test images of {checkpoint.dataset.title}"
    rows: list[Sequence[Cell]] = [
        (own, f"{ood['test_accepted']:.1%}", interval(ood["test_accepted_interval"]), "–")
    ]
    rows += [
        (dataset_title(kind) + suffix, f"{metrics['accepted']:.1%}", interval(metrics["accepted_interval"]),
         f"{metrics['auroc']:.3f}")
        for group, suffix in (("kinds", ""), ("near_ood", " (near-OOD)"))
        for kind, metrics in ood[group].items()
    ]  # fmt: skip
    return Table(
        ("images", "accepted", "95 % interval", "AUROC"),
        rows,
        "Score: Mahalanobis distance in the features of the OOD reference model; its threshold accepts 95 % "
        "of the validation images. Near-OOD images resemble the dataset; it is not meant to reject them.",
        title,
    )


def other_models_table(checkpoint: Checkpoint, other_models: Sequence[Checkpoint]) -> Table:
    """Exact McNemar tests against the other models of the dataset."""
    correct = checkpoint.test_logits.argmax(1) == checkpoint.test_labels
    rows = []
    for other_model in other_models:
        only, other_only, p = mcnemar(correct, other_model.test_logits.argmax(1) == other_model.test_labels)
        rows.append((other_model.title, f"{only:,}", f"{other_only:,}", p_value(p)))
    return Table(
        ("other model", "only this model correct", "only the other correct", "p (McNemar)"),
        rows,
        title="Compared with the other models",
    )
