"""The pickers above the tabs: dataset and model, with the size and accuracy of the model beside them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import gradio as gr

from medvit.checkpoint import Checkpoint
from medvit.inference.registry import Registry
from medvit.inference.sample import Sample
from medvit.ui.components.base import lenient
from medvit.ui.html import render
from medvit.ui.state import Selection, Values


@dataclass(frozen=True, eq=False)
class Pickers:
    """The two dropdowns, the line beside them, and the `Selection` that all tabs read.

    The dropdowns that an event brings may be ahead of the selection, as a visitor changes them while the
    answer is being computed, or behind it, as the event waited in the queue. `revision` tells these apart:
    the page holds the number of the last change that it received, the selection that of the last one made.
    """

    registry: Registry
    subset: gr.Dropdown
    model: gr.Dropdown
    headline: gr.HTML
    selection: gr.State
    revision: gr.Number

    @property
    def inputs(self) -> set:
        """What `resolve` and `update` read."""
        return {self.subset, self.model, self.selection, self.revision}

    @property
    def outputs(self) -> set:
        """What `open` sets, and `update` apart from the dataset."""
        return {self.subset, self.model, self.headline, self.selection, self.revision}

    def resolve(self, values: Values) -> Selection:
        """Return the selection that the dropdowns ask for, or the current one where they are behind it."""
        current = values[self.selection]
        if current and (values[self.revision] or 0) < current.revision:
            return current
        return self._follow(values)

    def _follow(self, values: Values, sample: Sample | None = None) -> Selection:
        """Return the selection that the dropdowns ask for, with `sample` in place of the current image.

        A model that the dataset lacks is replaced by the best one of the dataset, an image of another dataset
        by the first example. The revision remains.
        """
        subset, model, current = values[self.subset], values[self.model], values[self.selection]
        if not self.registry.has(subset, model):
            model = model_choices(self.registry, subset)[0][1]
        sample = sample or (current.sample if current else None)
        if sample is None or sample.subset != subset:
            sample = self.registry.examples(subset)[0]
        selection = Selection(subset, model, sample, current.revision if current else 0)
        return current if selection.is_same(current) else selection

    def update(self, values: Values) -> Values:
        """Bring the selection and what is displayed beside the dropdowns up to date with them."""
        return self._changes(self._follow(values), values)

    def open(self, values: Values, subset: str, model: str, sample: Sample | None = None) -> Values:
        """Select a dataset and a model, in the dropdowns too, and `sample` in place of the current image."""
        chosen = {self.subset: subset, self.model: model}
        selection = self._follow(values | chosen, sample)
        return {self.subset: subset} | self._changes(selection, values)

    def _changes(self, selection: Selection, values: Values) -> Values:
        current = values[self.selection]
        revision = max(values[self.revision] or 0, selection.revision) + 1
        changes: Values = {
            self.revision: revision,
            self.selection: replace(selection, revision=revision),
            self.headline: headline(self.registry.checkpoint(*selection.checkpoint)),
        }
        displayed = values[self.subset], values[self.model]
        if current is None or current.subset != selection.subset or displayed != selection.checkpoint:
            choices = model_choices(self.registry, selection.subset)
            changes[self.model] = gr.Dropdown(choices, value=selection.model)
        return changes

    def select(self, values: Values, sample: Sample) -> Values:
        """Select an image."""
        return {self.selection: replace(self.resolve(values), sample=sample)}


def build(registry: Registry) -> Pickers:
    """Lay out the pickers. They start with the first dataset and its best model."""
    subsets = registry.subset_choices()
    models = model_choices(registry, subsets[0][1])
    with gr.Row(equal_height=True, elem_id="pickers"):
        return Pickers(
            registry,
            gr.Dropdown(subsets, value=subsets[0][1], label="Dataset", scale=2, min_width=150),
            lenient(gr.Dropdown)(models, value=models[0][1], label="Model", scale=2, min_width=150),
            gr.HTML(elem_id="headline", min_height=40),
            gr.State(),
            gr.Number(0, visible="hidden"),
        )


def model_choices(registry: Registry, subset: str) -> list[tuple[str, str]]:
    """(title with test accuracy, name) of each model of a dataset, by falling validation accuracy."""
    checkpoints = [registry.checkpoint(subset, name) for _, name in registry.model_choices(subset)]
    return [(choice_title(item), item.model_name) for item in ordered(checkpoints)]


def ordered(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """By falling validation accuracy; models that were not measured here come first, as they were given."""
    return sorted(checkpoints, key=lambda item: -item.card.get("validation", {"accuracy": 2})["accuracy"])


def choice_title(checkpoint: Checkpoint) -> str:
    """Title of a model with its test accuracy, where it was tested."""
    test = checkpoint.card.get("test")
    return f"{checkpoint.title} · {test['accuracy']:.1%}" if test else checkpoint.title


def headline(checkpoint: Checkpoint) -> str:
    """Size and test accuracy of a checkpoint in one line of HTML."""
    card = checkpoint.card
    return render("headline.html", parameters=card["parameters"], test=card.get("test"))
