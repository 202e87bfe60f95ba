"""Pieces of the screens as HTML, and the components that need more than Gradio offers."""

import base64
import functools
import html
import io
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError
from medvit.predictor import Prediction
from medvit.subsets import short_name
from medvit.ui.store import Case

DISCLAIMER = "Research demo, not for diagnosis."


def shown_name(name: str) -> str:
    """A class name as HTML, its long form on hover."""
    return f"<span title='{html.escape(name, quote=True)}'>{html.escape(short_name(name))}</span>"


def plain_errors(function: Callable) -> Callable:
    """Show a MedvitError as its one sentence; anything else stays a bug, loud in the log."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except MedvitError as error:
            raise gr.Error(str(error), title="That did not work", print_exception=False) from error

    return wrapper


def picture_input(**options: Any) -> gr.Image:
    """A gr.Image that hands its file over unopened, so that `medvit.images` alone decides what is decoded."""
    component = gr.Image(type="filepath", image_mode=None, **options)
    # Set on the instance: Gradio writes a stub file into the package for every subclass of a component.
    component.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return component


def headline(found: Checkpoint) -> str:
    """Size and accuracy of a checkpoint in one line."""
    test = found.card["test"]
    low, high = test["accuracy_interval"]
    return (
        f"<div><b>{found.card['parameters'] / 1e6:.1f} M</b> parameters · test accuracy "
        f"<b>{test['accuracy']:.1%}</b> <span class='quiet'>({low:.1%} to {high:.1%}, {test['n']:,} "
        f"images)</span>"
        "</div>"
    )


def answer(prediction: Prediction, case: Case, shown: int = 5) -> str:
    """The classes and their probabilities as bars, the most probable first, and the truth where known."""
    order = np.argsort(-prediction.probabilities)
    rows = "".join(
        f"<li class='{'top' if rank == 0 else ''}'><span "
        f"class='name'>{shown_name(prediction.classes[i])}</span>"
        f"<span class='value'>{prediction.probabilities[i]:.1%}</span>"
        f"<span class='bar'><i style='width:{prediction.probabilities[i]:.2%}'></i></span></li>"
        for rank, i in enumerate(order[:shown])
    )
    more = len(order) - shown
    rest = prediction.probabilities[order[shown:]].sum()
    tail = f"<p class='quiet'>and {more} more, {rest:.1%} together</p>" if more > 0 else ""
    return (
        f"<div class='answer' role='status'><p class='says'>The model says</p>"
        f"<p class='label'>{shown_name(prediction.label)}</p><ul>{rows}</ul>{tail}{_truth(prediction, case)}"
        f"<p class='disclaimer'>{DISCLAIMER}</p></div>"
    )


def _truth(prediction: Prediction, case: Case) -> str:
    origin = html.escape(case.origin[:1].upper() + case.origin[1:])
    if case.truth is None:
        return f"<p class='truth'>{origin}. Its true class is not known here.</p>"
    right = case.truth == prediction.top
    mark = "<b class='right'>✓ right</b>" if right else "<b class='wrong'>✗ wrong</b>"
    return f"<p class='truth'>{mark} · truth: {shown_name(prediction.classes[case.truth])} · {origin}</p>"


def thumbnail(source: np.ndarray, origin: str) -> str:
    """The source pixels as the model sees them, enlarged without smoothing."""
    side, origin, data = len(source), html.escape(origin), data_url(Image.fromarray(source))
    return (
        f"<div class='seen'><img src='{data}' alt='{origin}, {side} by {side} pixels'>"
        f"<p>What the model sees:<br>{origin},<br>{side} × {side} pixels</p></div>"
    )


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def figures(found: Checkpoint) -> str:
    """The headline figures of the test split as tiles."""
    test = found.card["test"]
    low, high = test["accuracy_interval"]
    tiles = [
        ("accuracy", f"{test['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"),
        ("balanced accuracy", f"{test['balanced_accuracy']:.1%}", "mean recall of the classes"),
        ("macro F1", f"{test['macro_f1']:.3f}", "mean of the classes"),
        ("AUC", f"{test['auc']:.3f}", "as medmnist computes it"),
    ]
    if "quadratic_kappa" in test:
        tiles += [
            ("quadratic kappa", f"{test['quadratic_kappa']:.3f}", "ordinal agreement"),
            ("mean error", f"{test['mean_absolute_error']:.2f}", "grades"),
        ]
    cells = "".join(
        f"<div><b>{value}</b><span>{name}</span><i>{note}</i></div>" for name, value, note in tiles
    )
    return f"<div class='tiles'>{cells}</div>"


def model_card(found: Checkpoint) -> str:
    """Where a checkpoint comes from, in a few lines of Markdown."""
    card, subset = found.card, found.subset
    recipe = card["recipe"]
    part = "" if card["trained_on"] == subset.samples["train"] else f" of {subset.samples['train']:,}"
    start = f"fine-tuned from `{card['backbone']}`" if card["backbone"] else "trained from scratch"
    enlarged = (
        f", enlarged to {card['input_size']} ({card['interpolation']})" if card["interpolation"] else ""
    )
    return (
        f"### {found.title} on {subset.title}\n\n"
        f"{card['parameters']:,} parameters, {start} on {card['trained_on']:,}{part} training images, "
        f"{recipe['epochs']} epochs, learning rate {recipe['learning_rate']:g}, batch "
        f"{recipe['batch_size']}, "
        f"seed {card['seed']}. Source images of {card['source_size']} pixels{enlarged}. "
        f"Kept epoch: {card['selection']}. Took {card['seconds'] / 60:.0f} minutes on {card['hardware']}.\n\n"
        f"Figures are of one seed; the interval covers the test images drawn, not the luck of the seed.\n\n"
        f"**Data.** {subset.description} Licence: {subset.licence}."
    )
