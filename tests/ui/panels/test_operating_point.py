"""The panel of the operating point of a two-class model."""

import gradio as gr
import pytest

from medvit.reliability.operating_point import PRESETS
from medvit.ui.panels import operating_point


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        return operating_point.build(registry, gr.State())


def values(panel, displayed, threshold=0.5, prevalence=25):
    return {panel.displayed: displayed, panel.threshold: threshold, panel.prevalence: prevalence}


def test_the_panel_is_hidden_where_there_are_more_than_two_classes(panel):
    update = panel.update(panel.registry.checkpoint("bloodmnist", "cnn"))
    assert not update[panel.panel].visible
    update = panel.update(panel.registry.checkpoint("breastmnist", "cnn"))
    assert update[panel.panel].visible
    assert set(update) == panel.outputs
    assert "detecting malignant" in update[panel.summary]


def test_a_lower_threshold_detects_more(panel):
    counts = []
    for threshold in (0.0, 0.5, 1.0):
        html = panel.redraw(values(panel, ("breastmnist", "cnn"), threshold))[panel.table]
        counts.append(int(html.split(" of 42")[0].split(">")[-1]))
    assert counts[0] == 42
    assert counts == sorted(counts, reverse=True)


def test_the_predictive_values_follow_the_prevalence(panel):
    rare, common = (
        panel.redraw(values(panel, ("breastmnist", "cnn"), prevalence=prevalence))[panel.table]
        for prevalence in (1, 60)
    )
    assert "at a prevalence of 1.0%" in rare.striptags()
    assert rare != common


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_moves_the_threshold(panel, name):
    update = panel.apply_preset(name, values(panel, ("breastmnist", "cnn")))
    assert 0 <= update[panel.threshold] <= 1
    assert (
        update[panel.table]
        == panel.redraw(values(panel, ("breastmnist", "cnn"), update[panel.threshold]))[panel.table]
    )


@pytest.mark.parametrize(
    ("displayed", "reason"), [(("breastmnist", "gone"), "There is no model 'gone'"), (None, "expired")]
)
def test_a_preset_of_a_model_that_is_gone_is_one_sentence(panel, displayed, reason):
    with pytest.raises(gr.Error, match=reason):
        panel.apply_preset(PRESETS[0], values(panel, displayed))
