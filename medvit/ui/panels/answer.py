"""What the model says about an image, and how far to trust it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medvit.data import settings
from medvit.inference.predictor import Prediction
from medvit.inference.sample import Sample
from medvit.reliability import conformal
from medvit.ui import html
from medvit.ui.state import Answer, Values

DEFAULT_LEVEL = 0  # stands for the level of the dataset
LEVELS = [("default", DEFAULT_LEVEL), *((f"{level:.0%}", level) for level in conformal.LEVELS)]


@dataclass(frozen=True, eq=False)
class AnswerPanel:
    """The answer, and the controls of its reliability."""

    text: gr.HTML
    level: gr.Dropdown
    tta: gr.Checkbox

    def options(self, values: Values) -> tuple[float | None, bool]:
        """(level of the prediction set, None for that of the dataset; whether to augment at test time)."""
        return values[self.level] or None, bool(values[self.tta])

    def update(self, answer: Answer, values: Values) -> Values:
        """The answer as the controls ask for it."""
        level, _ = self.options(values)
        return {self.text: render(answer.prediction, answer.selection.sample, level)}


def build() -> AnswerPanel:
    """Lay out the panel."""
    text = gr.HTML(min_height=300, elem_id="answer")
    with gr.Row(equal_height=True):
        level = gr.Dropdown(
            LEVELS, value=DEFAULT_LEVEL, label="Prediction set", min_width=120, elem_id="level"
        )
        tta = gr.Checkbox(label="Test-time augmentation", min_width=120, elem_id="tta")
    return AnswerPanel(text, level, tta)


def render(prediction: Prediction, sample: Sample, level: float | None = None, count: int = 5) -> str:
    """The answer as HTML.

    An out-of-distribution image gets a notice above the dimmed answer, unless it is a synthetic example.

    Args:
        level: coverage of the prediction set; None for that of the dataset.
        count: number of classes listed, most probable first.
    """
    probs = prediction.display_probs
    order = np.argsort(-probs)
    dataset = prediction.dataset
    ood_check = prediction.in_distribution
    return html.render(
        "answer.html",
        prediction=prediction,
        sample=sample,
        dataset=dataset,
        probs=[(prediction.classes[i], float(probs[i])) for i in order[:count]],
        hidden=len(order[count:]),
        hidden_prob=None if dataset.multi_label else float(probs[order[count:]].sum()),
        prediction_set=_prediction_set(prediction, level),
        notice=ood_check is not None and not ood_check.accepted and not sample.synthetic,
    )


def _prediction_set(prediction: Prediction, level: float | None) -> dict[str, Any] | None:
    """The prediction set and what is needed to explain it; None for a checkpoint or dataset without."""
    level = settings.of(prediction.subset).conformal_level if level is None else level
    members = prediction.prediction_set(level)
    if members is None or prediction.trust is None:
        return None
    fitted = prediction.trust.fitted_on(prediction.agreement is not None)
    return {
        "level": level,
        "classes": [prediction.classes[i] for i in members],
        "fitted": fitted,
        "possible": fitted >= conformal.images_needed(level),
    }
