"""One case as a page that can be kept: image, answer, maps, the model's card and its limits.

The page is one file that loads nothing and runs nothing, and prints well.
"""

import importlib.metadata
import platform
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from medvit import explain, plots
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist, settings
from medvit.inference.predictor import Prediction

TEMPLATE = Path(__file__).with_suffix(".html")
LIBRARIES = ("torch", "transformers", "pillow")
LIMITS = (
    "For research and teaching, not for diagnosis.",
    "The model names one of its classes for any picture, whatever it shows.",
    "A map shows what moved the model, not why, and not whether it was right to be moved.",
    "The figures hold for the official test split and say nothing about other clinics, devices or people.",
)


def render(
    prediction: Prediction,
    maps: dict[str, np.ndarray],
    found: Checkpoint,
    made: datetime,
    origin: str = "an uploaded image",
    truth: int | None = None,
    level: float | None = None,
) -> str:
    """The page, HTML.

    Args:
        maps: by name of the method (`medvit.explain.METHODS`), as `Predictor.heatmap` gives them.
        made: the time to print; with its zone.
        origin: where the image comes from; never a file's name, which may name a person.
        truth: the true class, where it is known.
        level: the share of truths that the prediction set promises to hold; None is the subset's own.
    """
    subset = found.subset
    title = f"{subset.title} · {found.title}"
    return Template(TEMPLATE.read_text()).substitute(
        title=escape(title),
        date=escape(made.strftime("%Y-%m-%d %H:%M %Z").strip()),
        label=escape(prediction.label),
        image=_picture(plots.enlarge(prediction.source, 336), "The image as the model saw it"),
        origin=escape(f"{origin[:1].upper()}{origin[1:]}, {len(prediction.source)} pixels a side."),
        truth=_truth(prediction, truth),
        answer=_answer(prediction),
        trust=_trust(prediction, settings.of(prediction.subset).conformal_level if level is None else level),
        maps="".join(_map(prediction, name, values) for name, values in maps.items()),
        card=_card(found),
        limits="".join(f"<li>{escape(limit)}</li>" for limit in LIMITS),
        versions=escape(_versions(found)),
        data=escape(f"{subset.description} Licence of the data: {subset.licence}."),
    )


def _picture(picture, alt: str) -> str:
    return f'<img src="{plots.data_url(picture)}" alt="{escape(alt)}">'


def _answer(prediction: Prediction) -> str:
    probs = prediction.shown
    return "".join(
        f'<tr><th scope="row">{escape(prediction.classes[i])}</th><td>{probs[i]:.1%}</td>'
        f'<td class="bar"><i style="width:{probs[i]:.1%}"></i></td></tr>'
        for i in np.argsort(-probs)
    )


def _truth(prediction: Prediction, truth: int | None) -> str:
    if medmnist.get(prediction.subset).multi_label:
        return "Several labels can be true of an image of this subset, so none is marked here."
    if truth is None:
        return "The true class is not known here."
    verdict = "the model is right" if truth == prediction.top else "the model is wrong"
    return escape(f"The true class is {prediction.classes[truth]}: {verdict}.")


def _trust(prediction: Prediction, level: float) -> str:
    """What a checkpoint fitted for trust adds: prediction set, and whether the image is of the known kind."""
    sentences = []
    if (members := prediction.prediction_set(level)) is not None:
        names = ", ".join(prediction.classes[i] for i in members)
        sentences.append(f"{level:.0%} prediction set: {names}.")
    if seen := prediction.in_distribution:
        sentences.append(
            "The image looks like those the model was trained on."
            if seen.accepted
            else "The image does not look like those the model was trained on: do not rely on the answer."
        )
    if not sentences:
        sentences.append("This checkpoint has no statistics for prediction sets or for foreign images.")
    return escape(" ".join(sentences))


def _map(prediction: Prediction, name: str, values: np.ndarray) -> str:
    method = explain.METHODS[name]
    scaled = explain.scale(np.abs(values) if method.signed else values)
    picture = _picture(plots.overlay(prediction.source, scaled, 0.5, 336), f"{method.title} over the image")
    size = "The size of the effect, either way. " if method.signed else ""
    words = f"{method.about} {size}{explain.describe(scaled)}"
    return (
        f"<figure>{picture}<figcaption><b>{escape(method.title)}.</b> {escape(words)}</figcaption></figure>"
    )


def _card(found: Checkpoint) -> str:
    card, test = found.card, found.card["test"]
    low, high = test["accuracy_interval"]
    rows = {
        "Model": f"{found.title}, {card['parameters']:,} parameters, {found.origin}",
        "Trained on": f"{card['trained_on']:,} images of {found.subset.title}, {card['source_size']} pixels",
        "Seed": card["seed"],
        "Test accuracy": f"{test['accuracy']:.1%} ({low:.1%} to {high:.1%} at 95 %; {test['n']:,} images)",
        "Macro F1, AUC": f"{test['macro_f1']:.3f}, {test['auc']:.3f}",
        "Weights, sha256": card["sha256"],
        "Data, md5": card.get("data_md5", "not recorded"),
    }
    return "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in rows.items())


def _versions(found: Checkpoint) -> str:
    own = f"medvit {_own_version()}, Python {platform.python_version()}"
    here = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    trained = ", ".join(f"{name} {version}" for name, version in found.card.get("versions", {}).items())
    return f"Made with {own}, {here}. Trained with {trained or 'versions that were not recorded'}."


def _own_version() -> str:
    import medvit

    return medvit.__version__
