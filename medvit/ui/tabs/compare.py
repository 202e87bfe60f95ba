"""The Compare tab: the image on the table through every model of its subset, side by side."""

import html
from collections import Counter
from collections.abc import Callable

import gradio as gr

from medvit import explain, plots
from medvit.data import short_name
from medvit.inference.predictor import Prediction, Predictor
from medvit.inference.registry import Registry, Sample
from medvit.ui import parts


def build(registry: Registry) -> tuple[Callable, gr.Radio, gr.HTML]:
    """Lay out the tab; return `fill(picked, case, method)`, the choice of method, and the output to fill."""
    method = gr.Radio(
        [(one.title, name) for name, one in explain.METHODS.items()],
        value="grad_cam",
        label="The same map for each",
        elem_id="compared-map",
    )
    result = gr.HTML(min_height=480, elem_id="compared")

    @parts.show_user_errors
    def fill(picked, case: Sample | None, method):
        if picked is None:
            return gr.skip()  # the page is being loaded
        case, (subset, _) = parts.require_state(case), picked
        if case.subset != subset:
            return gr.skip()  # another subset was picked meanwhile, and is drawn next
        predictors = [registry.predictor(subset, name) for _, name in registry.model_choices(subset)]
        predictions = [one.predict(one.source(case.source)) for one in predictors]
        columns = "".join(
            _column(predictor, prediction, case, method)
            for predictor, prediction in zip(predictors, predictions, strict=True)
        )
        line = f"<p class='agreement' role='status'>{agreement(predictions)}</p>"
        return f"{line}<div class='models'>{columns}</div>"

    return fill, method, result


def agreement(predictions: list[Prediction]) -> str:
    """How far the models agree, in one line of HTML."""
    votes = Counter(one.label for one in predictions).most_common()
    names = [f"<b>{parts.class_name_html(label)}</b>" for label, _ in votes]
    if len(votes) == 1:
        return f"All {len(predictions)} models say {names[0]}."
    said = ", ".join(
        f"{count} {'says' if count == 1 else 'say'} {name}"
        for (_, count), name in zip(votes, names, strict=True)
    )
    return f"The {len(predictions)} models disagree: {said}."


def _column(predictor: Predictor, prediction: Prediction, case: Sample, method: str) -> str:
    title = html.escape(predictor.checkpoint.title)
    return (
        f"<section aria-label='{title}'><h3>{title}</h3>{parts.headline(predictor.checkpoint)}"
        f"{_map(predictor, prediction, method)}{parts.answer(prediction, case, shown=3)}</section>"
    )


def _map(predictor: Predictor, prediction: Prediction, method: str) -> str:
    if method not in predictor.methods():
        return (
            f"<div class='nomap'>{explain.METHODS[method].title} needs attention; this model has none.</div>"
        )
    kind = explain.METHODS[method]
    values = explain.scale(predictor.heatmap(prediction, method), kind.signed)
    alt = f"{kind.title} map for {short_name(prediction.label)}. {explain.describe(values)}"
    picture = plots.data_url(plots.overlay(prediction.source, values, side=224))
    return f"<img src='{picture}' alt='{html.escape(alt, quote=True)}'>"
