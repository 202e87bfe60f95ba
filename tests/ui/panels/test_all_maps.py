"""All maps of an image side by side."""

from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.explain import METHODS
from medvit.ui.panels import all_maps, heatmap

from ..conftest import initial_values


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        answer = gr.State()
        return all_maps.build(registry, answer, gr.HTML(), heatmap.build(registry, answer))


def test_a_transformer_has_every_map_with_its_measured_faithfulness(registry, answer_of):
    page = all_maps.render(registry, answer_of("bloodmnist", "vit_finetuned").prediction)
    assert page.count("<button") == len(METHODS)
    gain = registry.checkpoint("bloodmnist", "vit_finetuned").card["explanations"]["methods"]["relevance"]
    assert f"faithfulness {gain['insertion_deletion_gain']:+.2f}" in page


def test_a_cnn_says_which_maps_it_cannot_give_and_why(registry, answer_of):
    page = all_maps.render(registry, answer_of("breastmnist", "cnn").prediction)
    missing = sum(kind.needs_attention for kind in METHODS.values())
    assert page.count("<button") == len(METHODS) - missing
    assert "Rollout needs attention" in page
    assert page.count('class="none"') == missing


def test_it_is_drawn_only_while_it_is_open(panel, answer_of):
    answer = answer_of("breastmnist", "cnn")
    closed = {panel.answer: answer, panel.is_open: False}
    assert panel.update(closed) == gr.skip()
    opened = panel.toggle(closed)
    assert opened[panel.section].visible
    assert "Grad-CAM" in opened[panel.grid]
    assert "Grad-CAM" in panel.update(closed | {panel.is_open: True})[panel.grid]
    assert set(panel.toggle(closed | {panel.is_open: True})) == {panel.is_open, panel.section}


def test_a_click_displays_that_map_and_an_unknown_name_nothing(panel, answer_of):
    answer = answer_of("breastmnist", "cnn")
    values = panel.heatmap.adapt(initial_values(panel.heatmap.controls), answer.prediction)
    values[panel.answer] = answer
    changes = panel.choose(values, SimpleNamespace(name="occlusion"))
    assert changes[panel.heatmap.method] == "occlusion"
    assert "Occlusion map for" in changes[panel.heatmap.view]
    assert panel.choose(values, SimpleNamespace(name="rollout")) == gr.skip()


def test_an_expired_answer_is_one_sentence(panel):
    with pytest.raises(gr.Error, match="Pick an image again"):
        panel.toggle({panel.answer: None, panel.is_open: False})
