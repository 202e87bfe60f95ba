"""The verdict on a map, and the test on the current image."""

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.ui.panels import faithfulness, heatmap

from ..conftest import initial_values


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        answer = gr.State()
        return faithfulness.build(registry, answer, heatmap.build(registry, answer))


def metrics(gain, error=0.01, similarity=0.0):
    return {
        "insertion_deletion_gain": gain,
        "insertion_deletion_gain_se": error,
        "randomization_similarity": similarity,
    }


def checkpoint(attention):
    methods = {"attention": attention, "grad_cam": metrics(0.3), "unknown to this version": metrics(0.9)}
    return SimpleNamespace(card={"explanations": {"images": 50, "methods": methods}})


def test_a_map_is_faithful_only_when_it_reliably_beats_chance():
    text = faithfulness.verdict(checkpoint(metrics(0.2, 0.05)), "attention")
    assert "better than chance: +0.20" in text
    assert "not reliably" not in text
    assert "ranks 2 of 2; the best is Grad-CAM (+0.30)" in text
    assert "not reliably better" in faithfulness.verdict(checkpoint(metrics(0.2, 0.15)), "attention")


def test_a_map_that_ignores_the_weights_is_flagged():
    flagged = faithfulness.verdict(checkpoint(metrics(0.2, similarity=-0.8)), "attention")
    assert "With randomized weights the map is much the same, reversed" in flagged
    alike = faithfulness.verdict(checkpoint(metrics(0.2, similarity=0.8)), "attention")
    assert "With randomized weights the map stays much the same" in alike
    assert "randomized weights" not in faithfulness.verdict(checkpoint(metrics(0.2)), "attention")


def test_a_map_that_was_not_measured_is_called_so():
    assert "Not measured" in faithfulness.verdict(checkpoint(metrics(0.2)), "token_occlusion")
    assert "Not measured" in faithfulness.verdict(SimpleNamespace(card={}), "attention")


def test_the_test_on_an_image_plots_its_curves_and_goes_with_the_next_map(panel, answer_of):
    answer = answer_of("breastmnist", "cnn")
    values = panel.heatmap.adapt(initial_values(panel.heatmap.controls), answer.prediction)
    values[panel.answer] = answer
    result = panel.test_image(values)
    assert result[panel.plot].visible
    assert "While the patches of this image are blurred" in result[panel.result]
    assert panel.discard(values | result) == gr.skip()
    assert panel.discard(values | result | {panel.answer: replace(answer)})[panel.result] == ""
    cleared = panel.update_method(values)
    assert not cleared[panel.plot].visible
    assert cleared[panel.result] == ""
    assert "ranks" in cleared[panel.verdict]


def test_an_expired_answer_is_one_sentence(panel):
    values = initial_values(panel.heatmap.controls) | {panel.answer: None}
    for event in (panel.test_image, panel.update_method):
        with pytest.raises(gr.Error, match="Pick an image again"):
            event(values)
