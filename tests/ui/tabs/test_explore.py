"""The Explore tab: from a picked image to everything that is displayed of it."""

from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from medvit.data import synthetic
from medvit.ui import pickers
from medvit.ui.state import Selection
from medvit.ui.tabs import explore

from ..conftest import initial_values


@pytest.fixture(scope="module")
def tab(registry):
    with gr.Blocks():
        return explore.build(registry, pickers.build(registry))


@pytest.fixture
def values(tab, registry):
    """What a page sends that was just opened on a BreastMNIST model."""
    selection = Selection("breastmnist", "cnn", registry.examples("breastmnist")[0])
    sent = {tab.pickers.subset: "breastmnist", tab.pickers.model: "cnn", tab.pickers.selection: selection}
    return initial_values(tab.inputs) | sent


def selected(tab, changes):
    return changes[tab.pickers.selection]


def test_the_first_answer_sets_everything(tab, values):
    update = tab.update(values)
    assert set(update) == tab.outputs - {tab.pickers.selection}
    assert update[tab.answer].selection.is_same(values[tab.pickers.selection])
    assert "The model says" in update[tab.text.text]
    assert "Synthetic examples" in update[tab.images.examples]
    assert not update[tab.images.misclassified].interactive


def test_the_map_of_the_link_is_displayed_first_and_only_first(tab, values):
    values |= {tab.pickers.model: "vit", tab.linked_map: "rollout"}
    first = tab.predict(values)
    assert first[tab.heatmap.method].value == "rollout"
    values |= {tab.answer: first[tab.answer], tab.heatmap.method: "relevance"}
    assert tab.predict(values)[tab.heatmap.method].value == "relevance"


def test_what_is_displayed_already_is_left_alone(tab, values):
    values[tab.answer] = tab.update(values)[tab.answer]
    assert tab.update(values) == gr.skip()


def test_a_prediction_does_not_set_the_selection_that_it_read(tab, values):
    # It takes a while: an image that is picked meanwhile must not be replaced by the previous one.
    assert tab.pickers.selection not in tab.predict(values)


def test_a_prediction_that_waited_while_the_model_was_changed_is_that_of_the_new_model(tab, values):
    chosen = Selection("breastmnist", "vit", values[tab.pickers.selection].sample, revision=2)
    update = tab.predict(values | {tab.pickers.selection: chosen, tab.pickers.revision: 1})
    assert update[tab.answer].selection is chosen
    assert tab.pickers.selection not in update


def test_another_model_keeps_the_examples_and_the_upload(tab, values):
    values[tab.answer] = tab.update(values)[tab.answer]
    values[tab.pickers.model] = "vit"
    update = tab.predict(values)
    assert update[tab.answer].prediction.model == "vit"
    assert selected(tab, update).sample is values[tab.pickers.selection].sample
    assert not {tab.images.upload, tab.images.examples} & set(update)


def test_a_picked_image_replaces_the_upload(tab, values, registry):
    click = SimpleNamespace(index=3)
    changes = tab.pick_example(values, click)
    assert selected(tab, changes).sample.origin == registry.examples("breastmnist")[3].origin
    assert changes[tab.images.upload] is None
    assert selected(tab, tab.pick_random(values)).sample.subset == "breastmnist"


def test_a_picked_image_goes_with_the_dataset_that_is_displayed(tab, values):
    """The dropdown may be ahead of the selection."""
    values[tab.pickers.subset] = "retinamnist"
    assert selected(tab, tab.pick_random(values)).sample.subset == "retinamnist"
    assert selected(tab, tab.predict(values)).subset == "retinamnist"


def test_an_upload_of_any_size_is_selected_and_an_emptied_box_is_not(tab, values, tmp_path):
    path = tmp_path / "mine.png"
    Image.fromarray(synthetic.draw("breastmnist", 5)).resize((500, 400)).save(path)
    sample = selected(tab, tab.pick_upload(values | {tab.images.upload: str(path)})).sample
    assert sample.origin == "your image"
    assert sample.source.shape == (28, 28, 3)
    assert tab.pick_upload(values | {tab.images.upload: None}) == gr.skip()


def test_a_broken_upload_and_absent_data_are_one_sentence(tab, values, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(gr.Error, match="broken|picture|image"):
        tab.pick_upload(values | {tab.images.upload: str(path)})
    with pytest.raises(gr.Error):
        tab.pick_misclassified(values)
    with pytest.raises(gr.Error):
        tab.pick_test_image(values, SimpleNamespace(index=0))


def test_the_level_of_the_prediction_set_changes_the_text_alone(tab, values):
    values[tab.answer] = tab.update(values)[tab.answer]
    changes = tab.change_level(values | {tab.text.level: 0.99})
    assert set(changes) == {tab.text.text}
    assert "99% prediction set" in changes[tab.text.text].striptags()


def test_test_time_augmentation_is_used_on_request(tab, values):
    prediction = tab.predict(values | {tab.text.tta: True})[tab.answer].prediction
    assert prediction.agreement is not None


def test_an_expired_answer_is_one_sentence(tab, values):
    with pytest.raises(gr.Error, match="Pick an image again"):
        tab.change_level(values | {tab.answer: None})
