"""Pieces of the screens as HTML, and the components that need more than Gradio offers."""

import functools
import html
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

from medvit import limits
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist, settings
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Sample
from medvit.slow_imports import import_slow_libraries
from medvit.plots import data_url
from medvit.reliability import conformal
from medvit.reliability.fit import InDistribution
from medvit.ui.components.base import variant

DISCLAIMER = "Research demo, not for diagnosis."


def class_name_html(name: str) -> str:
    """A class name as HTML, its long form on hover."""
    return f"<span title='{html.escape(name, quote=True)}'>{html.escape(short_name(name))}</span>"


def show_user_errors(function: Callable) -> Callable:
    """Show a MedvitError as its one sentence; anything else stays a bug, loud in the log."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import_slow_libraries()
        try:
            return function(*args, **kwargs)
        except MedvitError as error:
            text = str(error)[: limits.ERROR_CHARACTERS]
            raise gr.Error(text, title="That did not work", print_exception=False) from error

    return wrapper


def require_state(state: Any) -> Any:
    """What a visitor's state holds; raises MedvitError where it was let go since."""
    if state is None:
        raise MedvitError("The image was let go, as this page was left for long. Pick an image again.")
    return state


def picture_input(**options: Any) -> gr.Image:
    """A gr.Image that hands its file over unopened, so that `medvit.images` alone decides what is decoded."""
    return variant(gr.Image, preprocess=_path)(type="filepath", image_mode=None, **options)


def file_button(label: str, **options: Any) -> gr.UploadButton:
    """A gr.UploadButton of one file, handed over as it is."""
    return variant(gr.UploadButton, preprocess=_path)(label, **options)


def _path(_, payload) -> str | None:
    return payload.path if payload else None


def trust_controls() -> tuple[gr.Dropdown, gr.Checkbox]:
    """The level of the set of answers (0: the subset's own), and whether to ask several views."""
    choices = [("usual level", 0), *((f"{level:.0%}", level) for level in conformal.LEVELS)]
    with gr.Row(equal_height=True):
        level = gr.Dropdown(choices, value=0, label="Set of answers", min_width=120, elem_id="level")
        tta = gr.Checkbox(label="Ask mirrored and turned views too", min_width=120, elem_id="views")
    return level, tta


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


def answer(prediction: Prediction, case: Sample, level: float | None = None, shown: int = 5) -> str:
    """What the model says and how far to trust it.

    A foreign image gets a notice over the dimmed answer, unless it is a phantom, which says so itself.

    Args:
        level: the share of truths that the set of answers promises to hold; None is the subset's own.
    """
    probs = prediction.display_probs
    order = np.argsort(-probs)
    rows = "".join(
        f"<li class='{'top' if rank == 0 else ''}'><span "
        f"class='name'>{class_name_html(prediction.classes[i])}</span>"
        f"<span class='value'>{probs[i]:.1%}</span>"
        f"<span class='bar'><i style='width:{probs[i]:.2%}'></i></span></li>"
        for rank, i in enumerate(order[:shown])
    )
    more = len(order) - shown
    rest = probs[order[shown:]].sum()
    together = "" if medmnist.get(prediction.subset).multi_label else f", {rest:.1%} together"
    tail = f"<p class='quiet'>and {more} more{together}</p>" if more > 0 else ""
    seen = prediction.in_distribution
    foreign = seen is not None and not seen.accepted and not case.synthetic
    notice, likeness = "", _likeness(prediction, case)
    if foreign:
        notice, likeness = _foreign_notice(prediction), ""
    return (
        f"<div class='answer{' foreign' if foreign else ''}' role='status'>{notice}"
        f"<div class='verdict'><p class='says'>The model says</p>"
        f"<p class='label'>{class_name_html(prediction.label)}</p><ul>{rows}</ul>{tail}"
        f"{_set(prediction, level)}{likeness}{_truth(prediction, case)}</div>"
        f"<p class='disclaimer'>{DISCLAIMER}</p></div>"
    )


def table(head: str, body: str, kind: str = "") -> str:
    """An HTML table of the cells of its head and of its rows; a wide one scrolls, by keyboard too."""
    return (
        f"<div class='scroll' tabindex='0'><table class='plain {kind}'><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def title(subset: str) -> str:
    """The name of a subset as people write it."""
    return medmnist.get(subset).title


def _foreign_notice(prediction: Prediction) -> str:
    seen = prediction.in_distribution
    assert seen is not None
    return (
        f"<div class='notice'><p><b>This does not look like {title(prediction.subset)}</b>{_score(seen)}. "
        "The model names a class anyway.</p><label><input type='checkbox'> show anyway</label></div>"
    )


def _set(prediction: Prediction, level: float | None) -> str:
    """The set of answers, and what it means, in a sentence."""
    level = settings.of(prediction.subset).conformal_level if level is None else level
    members = prediction.prediction_set(level)
    if members is None or prediction.trust is None:
        return "" if prediction.trust else "<p class='set quiet'>These probabilities are not calibrated.</p>"
    names = ", ".join(class_name_html(prediction.classes[i]) for i in members)
    fitted = prediction.trust.fitted_on(prediction.agreement is not None)
    if fitted < conformal.needed(level):
        meaning = f"validation has too few images ({fitted}) to promise {level:.0%}, so it holds every class"
    else:
        meaning = f"of 100 such sets, {level * 100:.0f} hold the true class"
    views = ""
    if prediction.agreement is not None:
        views = f" Its mirrored and turned views agree to {prediction.agreement:.0%}."
    return (
        f"<p class='set'><b>{level:.0%} set: {names}</b><br><span class='quiet'>{meaning}.{views}</span></p>"
    )


def _likeness(prediction: Prediction, case: Sample) -> str:
    """Whether the image looks like the subset."""
    seen = prediction.in_distribution
    if seen is None and prediction.trust is None:
        return ""
    if seen is None:
        return (
            f"<p class='likeness quiet'>Whether it looks like {title(prediction.subset)} cannot be said: the "
            "shared model in checkpoints/_shared is absent, or not the one that this was fitted with.</p>"
        )
    mark = "<b class='right'>✓</b> looks" if seen.accepted else "<b class='wrong'>✗</b> does not look"
    why = ", being a drawing" if case.synthetic and not seen.accepted else ""
    return (
        f"<p class='likeness'>{mark} like {title(prediction.subset)}{why}"
        f"<span class='quiet'>{_score(seen)}</span></p>"
    )


def _score(seen: InDistribution) -> str:
    return f" (score {seen.score:.1f}, at least {seen.threshold:.1f} is expected)"


def _truth(prediction: Prediction, case: Sample) -> str:
    origin = html.escape(case.origin[:1].upper() + case.origin[1:])
    if medmnist.get(prediction.subset).multi_label:
        return f"<p class='truth'>{origin}. Several labels can be true of it, so none is marked here.</p>"
    if case.truth is None:
        return f"<p class='truth'>{origin}. Its true class is not known here.</p>"
    right = case.truth == prediction.top
    mark = "<b class='right'>✓ right</b>" if right else "<b class='wrong'>✗ wrong</b>"
    return (
        f"<p class='truth'>{mark} · truth: {class_name_html(prediction.classes[case.truth])} · {origin}</p>"
    )


def thumbnail(source: np.ndarray, origin: str) -> str:
    """The source pixels as the model sees them, enlarged without smoothing."""
    side, origin, data = len(source), html.escape(origin), data_url(source)
    return (
        f"<div class='seen'><img src='{data}' alt='{origin}, {side} by {side} pixels'>"
        f"<p>What the model sees:<br>{origin},<br>{side} × {side} pixels</p></div>"
    )


def figures(found: Checkpoint) -> str:
    """The headline figures of the test split as tiles."""
    test = found.card["test"]
    low, high = test["accuracy_interval"]
    tiles = [
        ("accuracy", f"{test['accuracy']:.1%}", f"{low:.1%} to {high:.1%}{_seeds(found)}"),
        ("balanced accuracy", f"{test['balanced_accuracy']:.1%}", "mean recall of the classes"),
        ("macro F1", f"{test['macro_f1']:.3f}", "mean of the classes"),
        ("AUC", f"{test['auc']:.3f}", _auc_note(test)),
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


def _seeds(found: Checkpoint) -> str:
    """Mean and standard deviation of the accuracy over the seeds of the recipe, where there are several."""
    reached = found.seed_accuracies
    if len(reached) < 2:
        return ""
    return f"; {len(reached)} seeds {np.mean(reached):.1%} ± {np.std(reached, ddof=1):.1%}"


def _auc_note(test: dict[str, Any]) -> str:
    if "auc_interval" not in test:
        return "as medmnist computes it"
    low, high = test["auc_interval"]
    return f"{low:.3f} to {high:.3f} (DeLong)"


def model_card(found: Checkpoint) -> str:
    """Where a checkpoint comes from, in a few lines of Markdown."""
    card, subset = found.card, found.dataset
    recipe = card["recipe"]
    part = "" if card["trained_on"] == subset.samples["train"] else f" of {subset.samples['train']:,}"
    enlarged = (
        f", enlarged to {card['input_size']} ({card['interpolation']})" if card["interpolation"] else ""
    )
    return (
        f"### {found.title} on {subset.title}\n\n"
        f"{card['parameters']:,} parameters, {found.origin} on {card['trained_on']:,}{part} training images, "
        f"{recipe['epochs']} epochs, learning rate {recipe['learning_rate']:g}, batch "
        f"{recipe['batch_size']}, "
        f"seed {card['seed']}. Source images of {card['source_size']} pixels{enlarged}. "
        f"Kept epoch: {card['selection']}. Took {card['seconds'] / 60:.0f} minutes on {card['hardware']}.\n\n"
        f"Figures are of one seed; the interval covers the test images drawn, not the luck of the seed"
        f"{_seeds(found)}.\n\n"
        f"**Data.** {subset.description} Licence: {subset.licence}."
    )
