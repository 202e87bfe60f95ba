"""The button that saves the answer as a prediction report, one HTML file."""

from datetime import UTC, datetime

import gradio as gr

from medvit.errors import MedvitError
from medvit.files import safe_name
from medvit.inference import prediction_report
from medvit.inference.registry import Registry
from medvit.ui.components import download_button
from medvit.ui.state import Answer, Values

METHODS = ("rollout", "relevance", "grad_cam")  # maps in the report, where the model has them


def build(registry: Registry, answer: gr.State, level: gr.Dropdown) -> gr.Button:
    """Lay out the button.

    Args:
        answer: holds the `Answer` that is displayed.
        level: coverage of the prediction set; 0 is that of the dataset.
    """

    def make(values: Values) -> tuple[str, str]:
        return report(registry, values[answer], values[level] or None, datetime.now(UTC))

    return download_button.button("Save a report", make, {answer, level}, size="sm", concurrency_id="model")


def report(registry: Registry, answer: Answer | None, level: float | None, now: datetime) -> tuple[str, str]:
    """Return (file name, HTML) of the prediction report; raises MedvitError where there is no answer yet."""
    if answer is None:
        raise MedvitError("There is nothing to report yet. Pick an image first.")
    prediction, sample = answer.prediction, answer.selection.sample
    predictor = registry.predictor(prediction.subset, prediction.model)
    methods = [name for name in METHODS if name in predictor.methods()]
    maps = {name: predictor.heatmap(prediction, name) for name in methods}
    page = prediction_report.render(
        prediction, maps, predictor.model_card(), now, sample.origin, sample.truth, level
    )
    model = safe_name(prediction.model)  # a hub id has a slash
    return f"medvit-{prediction.subset}-{model}-{now:%Y%m%d-%H%M%S}.html", page
