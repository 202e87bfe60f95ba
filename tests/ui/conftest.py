"""Fixtures for the screens: a registry of the shipped checkpoints without data, and values of components."""

from collections.abc import Callable

import gradio as gr
import pytest

from medvit.checkpoint import DEFAULT_ROOT
from medvit.inference.registry import Registry
from medvit.ui.state import Answer, Selection


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The shipped checkpoints; the images are synthetic examples."""
    return Registry.open(DEFAULT_ROOT, "/nonexistent")


@pytest.fixture(scope="session")
def answer_of(registry) -> Callable[[str, str], Answer]:
    """`answer_of(subset, model)`: the answer for the first example."""

    def answer(subset: str, model: str) -> Answer:
        selection = Selection(subset, model, registry.examples(subset)[0])
        return Answer(selection, registry.predictor(subset, model).predict(selection.sample.source))

    return answer


def initial_values(components: set) -> dict:
    """The values that a page sends of components before anything was answered."""
    return {
        component: getattr(component, "value", None)
        for component in components
        if isinstance(component, gr.components.Component)
    }
