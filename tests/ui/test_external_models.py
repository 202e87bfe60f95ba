"""The screens with a model of another program: what needs labelled pictures says that there are none."""

import gradio as gr
import pytest

from medvit.inference.external import GROUP
from medvit.inference.registry import Registry
from medvit.ui import api, pickers
from medvit.ui.panels import answer, faithfulness, heatmap, report_button, similar
from medvit.ui.state import Answer, Selection
from medvit.ui.tabs import about, compare, data, explore, test_set
from tests.ui.conftest import initial_values


@pytest.fixture(scope="module")
def registry(own_models):
    names = ("vit", "imagenet", "resnet", "blood")
    return Registry.open(data_root="/nonexistent", models=[str(own_models / name) for name in names])


def selection(registry, model):
    return Selection(GROUP, model, registry.examples(GROUP)[0])


def answer_of(registry, model):
    predictor, chosen = registry.predictor(GROUP, model), selection(registry, model)
    return Answer(chosen, predictor.predict(predictor.source(chosen.sample.source)))


def test_the_first_of_them_is_selected(registry):
    with gr.Blocks():
        picker = pickers.build(registry)
    assert (picker.subset.value, picker.model.value) == (GROUP, "vit")
    assert "not tested here" in pickers.headline(registry.checkpoint(GROUP, "vit"))


def test_the_api_says_that_there_is_no_confusion_matrix(registry):
    with pytest.raises(gr.Error, match="vit was not tested here and has no confusion matrix."):
        api.Endpoints(registry, lambda *_: {}).confusion_matrix(GROUP, "vit")


def test_the_tab_test_set_says_that_there_are_no_results(registry):
    with gr.Blocks():
        tab = test_set.build(registry, gr.State())
    changes = tab.update(initial_values(tab.inputs) | {tab.selection: selection(registry, "vit")})
    assert "There are no test results for this model" in changes[tab.untested].value
    assert not changes[tab.content].visible
    blood = Selection("bloodmnist", "cnn", registry.examples("bloodmnist")[0])
    changes = tab.update(initial_values(tab.inputs) | {tab.selection: blood})
    assert changes[tab.content].visible
    assert not changes[tab.untested].visible


def test_the_tab_data_says_that_there_are_no_pictures(registry):
    with gr.Blocks():
        tab, _ = data.build(registry, gr.State())
    changes = tab.update({tab.selection: selection(registry, "vit"), tab.followed: None})
    assert "no labelled pictures" in changes[tab.status]
    assert GROUP not in [name for _, name in changes[tab.displayed].choices]


def test_about_shows_what_is_known_and_no_learning_curve(registry):
    with gr.Blocks():
        tab = about.build(registry, gr.State())
    changes = tab.update({tab.selection: selection(registry, "vit")})
    assert "32 x 32 pixels" in changes[tab.card]
    assert "&lt;b&gt;hat" in changes[tab.card]
    assert not changes[tab.training].visible
    assert "PathMNIST" not in changes[tab.limitations]


def test_similar_images_need_labelled_pictures(registry):
    with gr.Blocks():
        panel = similar.build(registry, gr.State(), gr.HTML())
        changes = panel.update({panel.is_open: True, panel.answer: answer_of(registry, "vit")})
    assert "no labelled pictures" in changes[panel.pictures]


def test_faithfulness_was_not_measured(registry):
    assert "no test images" in faithfulness.verdict(registry.checkpoint(GROUP, "vit"), "relevance")


def test_of_a_thousand_classes_five_are_listed_and_all_can_be_searched(registry):
    prediction = answer_of(registry, "imagenet").prediction
    page = answer.render(prediction, registry.examples(GROUP)[0])
    assert page.count("<li") == 5
    assert "and 995 more" in page
    order = heatmap.class_order(prediction)
    assert sorted(order) == sorted(prediction.classes)
    assert order[0] == prediction.label
    few = answer_of(registry, "vit").prediction
    assert heatmap.class_order(few) == few.classes


def test_compare_shows_all_and_counts_those_with_the_same_classes(registry):
    with gr.Blocks():
        tab = compare.build(registry, gr.State())
    page = tab.update({tab.selection: selection(registry, "vit"), tab.method: "rollout"})[tab.result]
    assert page.count("<section") == 4
    assert "These models have different classes." in page
    assert "This model has no attention: it is a CNN." in page
    page = tab.update({tab.selection: selection(registry, "blood"), tab.method: "grad_cam"})[tab.result]
    assert page.count("<section") == 4 + len(registry.model_choices("bloodmnist"))
    assert "Models with other classes are displayed as well." in page


def test_explore_starts_with_the_map_that_fits_the_model(registry):
    with gr.Blocks():
        tab = explore.build(registry, pickers.build(registry))
    for model, method in (("vit", "relevance"), ("resnet", "grad_cam")):
        answered = answer_of(registry, model).prediction
        assert tab.heatmap.adapt(initial_values(tab.inputs), answered)[tab.heatmap.method] == method


def test_a_report_of_it_lists_the_most_probable_classes(registry):
    from datetime import UTC, datetime

    name, page = report_button.report(registry, answer_of(registry, "imagenet"), None, datetime.now(UTC))
    assert name.startswith(f"medvit-{GROUP}-imagenet-")
    assert "and 980 less probable classes" in page
