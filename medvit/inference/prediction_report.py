"""A prediction as one HTML page to keep: image, prediction, saliency maps, model card and limits.

The page loads nothing and runs nothing, and prints well. Its layout is in prediction_report.html.
"""

import importlib.metadata
import platform
from datetime import datetime
from pathlib import Path

import numpy as np

from medvit import __version__, explain, plots
from medvit.data import settings
from medvit.evaluation.model_card import ModelCard
from medvit.inference.predictor import Prediction
from medvit.templates import environment

TEMPLATE = Path(__file__).with_suffix(".html")
IMAGE_SIDE = 336
LISTED_CLASSES = 20
LIBRARIES = ("torch", "transformers", "pillow")
MAP_LIMITATION = (
    "A saliency map is an estimate of which regions influenced the model, for some models and maps no better "
    "than chance; it does not show why, nor whether they should have."
)


def render(
    prediction: Prediction,
    maps: dict[str, np.ndarray],
    card: ModelCard,
    time: datetime,
    origin: str = "an uploaded image",
    truth: int | None = None,
    level: float | None = None,
) -> str:
    """Return the page, HTML.

    Args:
        card: of the model, see `Predictor.model_card`.
        maps: by name of the method (`medvit.explain.METHODS`), as `Predictor.heatmap` returns them.
        time: the time to print, with its zone.
        origin: where the image comes from; never a file name, which may name a patient.
        truth: the true class, where it is known.
        level: coverage of the prediction set; None for the subset's default.
    """
    probs = prediction.display_probs
    height, width = prediction.source.shape[:2]
    level = settings.of(prediction.subset).conformal_level if level is None else level
    template = environment(TEMPLATE.parent).get_template(TEMPLATE.name)
    return template.render(
        title=card.title,
        time=time.strftime("%Y-%m-%d %H:%M %Z").strip(),
        label=prediction.label,
        image=plots.data_url(plots.enlarge(prediction.source, IMAGE_SIDE)),
        origin=f"{origin[:1].upper()}{origin[1:]}, {width} x {height} pixels.",
        truth=_truth(prediction, truth),
        probs=[(prediction.classes[i], f"{probs[i]:.1%}") for i in np.argsort(-probs)[:LISTED_CLASSES]],
        hidden=max(0, len(probs) - LISTED_CLASSES),
        reliability=_reliability(prediction, level),
        maps=[_map(prediction, name, values) for name, values in maps.items()],
        card=card.facts,
        limits=(*card.limitations, MAP_LIMITATION),
        versions=_versions(),
        data=card.data,
    )


def _truth(prediction: Prediction, truth: int | None) -> str:
    if prediction.dataset.multi_label:
        return "An image of this subset can have several labels, so none is marked as true here."
    if truth is None:
        return "The true class is not known here."
    verdict = "the model is right" if truth == prediction.top else "the model is wrong"
    return f"The true class is {prediction.classes[truth]}: {verdict}."


def _reliability(prediction: Prediction, level: float) -> str:
    """The prediction set and the out-of-distribution check in words."""
    sentences = []
    if (members := prediction.prediction_set(level)) is not None:
        names = ", ".join(prediction.classes[i] for i in members)
        sentences.append(f"{level:.0%} prediction set: {names}.")
    if ood_check := prediction.in_distribution:
        sentences.append(
            "The image looks like those the model was trained on."
            if ood_check.accepted
            else "The image does not look like those the model was trained on: do not rely on the prediction."
        )
    if not sentences:
        sentences.append(
            "This checkpoint has no statistics for prediction sets or out-of-distribution images."
        )
    return " ".join(sentences)


def _map(prediction: Prediction, name: str, values: np.ndarray) -> dict[str, str]:
    method = explain.METHODS[name]
    scaled = explain.scale(np.abs(values) if method.signed else values)
    sign = "The size of the effect, for or against the class. " if method.signed else ""
    return {
        "title": method.title,
        "image": plots.data_url(plots.overlay(prediction.source, scaled, 0.5, IMAGE_SIDE)),
        "text": f"{method.about} {sign}{explain.describe(scaled)}",
    }


def _versions() -> str:
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return f"Made with medvit {__version__}, Python {platform.python_version()}, {libraries}."
