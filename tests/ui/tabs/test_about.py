"""The About tab: how a model was made."""

import gradio as gr
import pytest

from medvit.ui.state import Selection
from medvit.ui.tabs import about


@pytest.fixture(scope="module")
def tab(registry):
    with gr.Blocks():
        return about.build(registry, gr.State())


def test_the_model_card_is_a_table(tab):
    update = tab.update({tab.selection: Selection("breastmnist", "cnn", None)})
    assert set(update) == tab.outputs
    card = tab.registry.checkpoint("breastmnist", "cnn").card
    for fact in (
        f"{card['parameters']:,} parameters",
        f"{card['recipe']['epochs']} epochs",
        card["selection"],
    ):
        assert fact in update[tab.card]
    assert "<table" in update[tab.card]
    assert len(update[tab.curve].data[0].x) == len(card["history"])


def test_every_shipped_model_has_a_card(tab):
    for _, subset in tab.registry.subset_choices():
        for _, model in tab.registry.model_choices(subset):
            assert "Training time" in tab.update({tab.selection: Selection(subset, model, None)})[tab.card]
