"""The button that saves the case on the table as one HTML file."""

from datetime import UTC, datetime

import gradio as gr

from medvit.errors import MedvitError
from medvit.inference import prediction_report
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry, Sample
from medvit.ui.components import download_button

METHODS = ("rollout", "relevance", "grad_cam")  # those of them that the model can give


def build(registry: Registry, seen: gr.State, case: gr.State, level: gr.Dropdown) -> gr.Button:
    """Lay out the button.

    Args:
        seen: holds the Prediction that is shown. case: holds the Case that it is about.
        level: what the set of answers promises; 0 is the subset's own.
    """

    def make(prediction: Prediction | None, on_table: Sample | None, level: float) -> tuple[str, str]:
        if prediction is None or on_table is None:
            raise MedvitError("There is nothing to report yet. Put an image on the table first.")
        predictor = registry.predictor(prediction.subset, prediction.model)
        methods = [name for name in METHODS if name in predictor.methods()]
        maps = {name: predictor.heatmap(prediction, name) for name in methods}
        now = datetime.now(UTC)
        page = prediction_report.render(
            prediction, maps, predictor.checkpoint, now, on_table.origin, on_table.truth, level or None
        )
        return f"medvit-{prediction.subset}-{prediction.model}-{now:%Y%m%d-%H%M%S}.html", page

    return download_button.button(
        "Save a report", make, [seen, case, level], size="sm", concurrency_id="model"
    )
