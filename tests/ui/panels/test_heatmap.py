"""The heatmap panel: its controls, clicks and the map they give."""

from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.ui.panels import heatmap

from ..conftest import initial_values


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        return heatmap.build(registry, gr.State())


def values(panel, answer, **changes):
    """What a page sends after an answer; `changes` by the name of the control."""
    sent = panel.adapt(initial_values(panel.controls), answer.prediction) | {panel.answer: answer}
    return sent | {getattr(panel, name): value for name, value in changes.items()}


@pytest.mark.parametrize("model", ["cnn", "vit_finetuned"])
def test_the_first_map_is_the_most_faithful_one(panel, registry, answer_of, model):
    measured = registry.checkpoint("bloodmnist", model).card["explanations"]["methods"]
    best = max(measured.values(), key=lambda metrics: metrics["insertion_deletion_gain"])
    sent = panel.adapt(initial_values(panel.controls), answer_of("bloodmnist", model).prediction)
    assert measured[sent[panel.method]] == best


def test_a_map_chosen_before_stays_where_the_model_can_give_it(panel, answer_of):
    chosen = initial_values(panel.controls) | {panel.method: "rollout"}
    assert panel.adapt(chosen, answer_of("breastmnist", "vit").prediction)[panel.method] == "rollout"
    assert panel.adapt(chosen, answer_of("breastmnist", "cnn").prediction)[panel.method] != "rollout"


def test_the_last_layer_stays_the_last_from_model_to_model(panel, answer_of):
    cnn, small, large = (
        answer_of("breastmnist", model).prediction for model in ("cnn", "spt_lsa", "vit_finetuned")
    )

    def adapt(prediction, layer_count, layer):
        sent = initial_values(panel.controls) | {panel.layer_count: layer_count, panel.layer: layer}
        adapted = panel.adapt(sent, prediction)
        return adapted[panel.layer_count], adapted[panel.layer]

    assert adapt(small, heatmap.DEEPEST, heatmap.DEEPEST) == (9, 9)
    assert adapt(large, 9, 9) == (12, 12)
    assert adapt(cnn, 12, 12) == (1, 1)
    assert adapt(large, 1, 1) == (12, 12)
    assert adapt(large, 12, 4) == (12, 4)
    assert adapt(small, 12, 10) == (9, 9)


def test_faithful_maps_have_a_mark_and_missing_ones_a_reason(panel, answer_of):
    answer = answer_of("bloodmnist", "vit_finetuned")
    titles = [
        title for title, _ in panel.update(answer.prediction, values(panel, answer))[panel.method].choices
    ]
    assert "Relevance ✓" in titles
    answer = answer_of("pneumoniamnist", "spt_lsa")
    update = panel.update(answer.prediction, values(panel, answer))
    assert "Attention" in [title for title, _ in update[panel.method].choices]  # not above chance here
    answer = answer_of("breastmnist", "cnn")
    update = panel.update(answer.prediction, values(panel, answer))
    assert "rollout" not in [name for _, name in update[panel.method].choices]
    assert "Rollout needs attention" in update[panel.unavailable]


def test_an_update_sets_every_output(panel, answer_of):
    for model in ("cnn", "vit"):
        answer = answer_of("breastmnist", model)
        update = panel.update(answer.prediction, values(panel, answer))
        assert set(update) == panel.outputs
        assert bool(update[panel.heads]) == (model == "vit")


def test_the_controls_are_read_as_options(panel, answer_of):
    answer = answer_of("breastmnist", "vit")
    sent = values(
        panel, answer, layer=2, head="3", discard_ratio=40, head_fusion="max", target="gone", patch=4
    )
    options = panel.options(sent, answer.prediction)
    assert (options.layer, options.head, options.patch) == (1, 2, 4)
    assert (options.head_fusion, options.discard_ratio) == ("max", 0.4)
    assert options.target == answer.prediction.top


def test_a_click_on_a_patch_shows_its_attention_and_a_second_click_that_of_the_class_token(panel, answer_of):
    answer = answer_of("breastmnist", "vit")
    rows, columns = answer.prediction.forward_pass.grid
    click = SimpleNamespace(x=0.999, y=0.0)
    first = panel.click_patch(values(panel, answer), click)
    assert (first[panel.method], first[panel.patch]) == ("attention", columns - 1)
    assert f"row 1, column {columns}" in first[panel.about]
    second = panel.click_patch(values(panel, answer, patch=columns - 1), click)
    assert second[panel.patch] is None
    assert "From the class token" in second[panel.about].striptags()


def test_a_click_on_a_head_or_layer_shows_it(panel, answer_of):
    answer = answer_of("breastmnist", "vit")
    head = panel.click_head(values(panel, answer), SimpleNamespace(index=1))
    assert head[panel.method] == "attention"
    assert head[panel.head].value == "2"
    again = panel.click_head(values(panel, answer, head="2"), SimpleNamespace(index=1))
    assert again[panel.head].value == heatmap.ALL_HEADS
    assert panel.click_layer(values(panel, answer), SimpleNamespace(index=99))[panel.layer].value == 9


def test_a_cnn_has_no_attention_to_click(panel, answer_of):
    answer = answer_of("breastmnist", "cnn")
    with pytest.raises(gr.Error, match="no attention"):
        panel.click_patch(values(panel, answer), SimpleNamespace(x=0.5, y=0.5))


def test_each_method_displays_its_own_controls(panel, answer_of):
    answer = answer_of("breastmnist", "vit")
    for method, displayed in {
        "attention": {panel.layer, panel.head},
        "rollout": {panel.head_fusion, panel.discard_ratio},
        "relevance": {panel.target},
    }.items():
        update = panel.change_method(values(panel, answer, method=method))
        controls = {panel.layer, panel.head, panel.target, panel.head_fusion, panel.discard_ratio}
        assert {control for control in controls if update[control].visible} == displayed


@pytest.mark.parametrize("event", ["redraw", "change_method", "click_patch", "click_head", "click_layer"])
def test_an_expired_answer_is_one_sentence(panel, event):
    click = [] if event in ("redraw", "change_method") else [SimpleNamespace(index=1, x=0, y=0)]
    with pytest.raises(gr.Error, match="Pick an image again"):
        getattr(panel, event)(initial_values(panel.controls) | {panel.answer: None}, *click)
