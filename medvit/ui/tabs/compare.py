"""The Compare tab: the current image through every model with the same classes, side by side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr
from PIL import Image

from medvit import explain, plots
from medvit.data import short_name
from medvit.inference.predictor import Prediction, Predictor
from medvit.inference.registry import Registry
from medvit.inference.sample import Sample
from medvit.ui import html
from medvit.ui.panels import answer
from medvit.ui.pickers import headline, ordered
from medvit.ui.state import PRIVATE, Values, connect, require_state, show_user_errors


@dataclass(frozen=True, eq=False)
class Compare:
    """The tab. `selection` holds the `Selection` of the page."""

    registry: Registry
    selection: gr.State
    method: gr.Radio
    result: gr.HTML

    @property
    def inputs(self) -> set:
        """What `update` reads."""
        return {self.selection, self.method}

    @property
    def outputs(self) -> set:
        """What `update` sets."""
        return {self.result}

    @show_user_errors
    def update(self, values: Values) -> Values:
        """The answers and maps of all models for the current image."""
        selection = require_state(values[self.selection])
        sample, method = selection.sample, values[self.method]
        models = ordered(self.registry.comparable(*selection.checkpoint))
        predictors = [self.registry.predictor(item.dataset.name, item.model_name) for item in models]
        predictions = [predictor.predict(predictor.source(sample.source)) for predictor in predictors]
        classes = self.registry.checkpoint(*selection.checkpoint).dataset.classes
        columns = [
            _column(predictor, prediction, _with_truth(sample, classes, prediction), method)
            for predictor, prediction in zip(predictors, predictions, strict=True)
        ]
        same = [prediction for prediction in predictions if set(prediction.classes) == set(classes)]
        counted = votes(same) if len(same) > 1 else []
        return {self.result: html.render("compare.html", votes=counted, count=len(same), columns=columns)}


def build(registry: Registry, selection: gr.State) -> Compare:
    """Lay out the tab."""
    tab = Compare(
        registry,
        selection,
        gr.Radio(
            [(kind.title, name) for name, kind in explain.METHODS.items()],
            value="grad_cam",
            label="The same map for each model",
            elem_id="compared-map",
        ),
        gr.HTML(min_height=480, elem_id="compared"),
    )
    connect(
        tab.method.input,
        tab.update,
        tab.inputs,
        tab.outputs,
        concurrency_id="model",
        show_progress_on=tab.result,
        **PRIVATE,
    )
    return tab


def votes(predictions: Sequence[Prediction]) -> list[tuple[str, int]]:
    """(class, number of models that predict it), most frequent first."""
    return Counter(prediction.label for prediction in predictions).most_common()


def _with_truth(sample: Sample, classes: tuple[str, ...], prediction: Prediction) -> Sample:
    """The sample with its true class, an index into `classes`, as one into those of the model."""
    if sample.truth is None:
        return sample
    return replace(sample, truth=prediction.classes.index(classes[sample.truth]))


def _column(predictor: Predictor, prediction: Prediction, sample: Sample, method: str) -> dict:
    """What one model says and where it looks."""
    picture, description = _map(predictor, prediction, method)
    return {
        "title": predictor.checkpoint.title,
        "headline": headline(predictor.checkpoint),
        "picture": picture,
        "description": description,
        "answer": answer.render(prediction, sample, count=3),
    }


def _map(predictor: Predictor, prediction: Prediction, method: str) -> tuple[Image.Image | None, str]:
    """The map over the image and what it shows; (None, why) for a model that cannot give it."""
    kind = explain.METHODS[method]
    if method not in predictor.methods():
        return None, predictor.explainer.why_not(method)
    heatmap = explain.scale(predictor.heatmap(prediction, method), kind.signed)
    description = f"{kind.title} map for {short_name(prediction.label)}. {explain.describe(heatmap)}"
    return plots.overlay(prediction.source, heatmap, 0.85, side=224, by_value=True), description
