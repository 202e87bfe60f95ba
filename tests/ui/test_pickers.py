"""The pickers of dataset and model, and the selection that follows them."""

import gradio as gr
import pytest

from medvit.ui import pickers
from medvit.ui.state import Selection


@pytest.fixture(scope="module")
def picker(registry):
    with gr.Blocks():
        return pickers.build(registry)


def values(picker, subset, model, selection=None, revision=0):
    return {
        picker.subset: subset, picker.model: model, picker.selection: selection, picker.revision: revision,
    }  # fmt: skip


def test_the_app_opens_on_the_most_accurate_model_of_the_first_dataset(picker, registry):
    subset = registry.subset_choices()[0][1]
    assert picker.subset.value == subset
    names = [name for _, name in pickers.model_choices(registry, subset)]
    accuracies = [registry.checkpoint(subset, name).card["validation"]["accuracy"] for name in names]
    assert accuracies == sorted(accuracies, reverse=True)
    assert picker.model.value == names[0]


def test_a_model_that_the_dataset_lacks_is_replaced(picker):
    selection = picker.resolve(values(picker, "pathmnist", "gone"))
    assert selection.model == "vit_finetuned"
    assert selection.sample.subset == "pathmnist"


def test_the_image_stays_with_another_model_and_goes_with_another_dataset(picker, registry):
    sample = registry.examples("breastmnist")[5]
    current = Selection("breastmnist", "cnn", sample)
    assert picker.resolve(values(picker, "breastmnist", "cnn", current)) is current
    assert picker.resolve(values(picker, "breastmnist", "vit", current)).sample is sample
    assert picker.resolve(values(picker, "retinamnist", "vit", current)).sample.subset == "retinamnist"


def test_an_image_selected_while_the_model_changes_keeps_both(picker, registry):
    """Two events may overwrite each other's selection; the next one resolves it to what the page displays."""
    sample = registry.examples("breastmnist")[5]
    selected = picker.select(values(picker, "breastmnist", "cnn"), sample)[picker.selection]
    assert selected.model == "cnn"
    resolved = picker.resolve(values(picker, "breastmnist", "vit", selected))
    assert (resolved.model, resolved.sample) == ("vit", sample)


def test_an_event_from_before_a_change_does_not_undo_it(picker, registry):
    sample = registry.examples("breastmnist")[5]
    changes = picker.update(values(picker, "breastmnist", "vit", Selection("breastmnist", "cnn", sample)))
    current, revision = changes[picker.selection], changes[picker.revision]
    assert (current.model, current.sample, current.revision) == ("vit", sample, revision)
    assert picker.resolve(values(picker, "breastmnist", "cnn", current, revision - 1)) is current
    assert picker.resolve(values(picker, "breastmnist", "cnn", current, revision)).model == "cnn"
    other = registry.examples("breastmnist")[1]
    changes = picker.select(values(picker, "retinamnist", "cnn", current, revision - 1), other)
    assert changes == {picker.selection: Selection("breastmnist", "vit", other, revision)}


def test_what_is_opened_from_elsewhere_is_displayed_in_the_dropdowns(picker, registry):
    before = values(picker, "breastmnist", "cnn", Selection("breastmnist", "cnn", None, 4), 3)
    sample = registry.examples("retinamnist")[2]
    changes = picker.open(before, "retinamnist", "vit", sample)
    assert (changes[picker.subset], changes[picker.model].value) == ("retinamnist", "vit")
    assert changes[picker.selection] == Selection("retinamnist", "vit", sample, 5)
    assert changes[picker.revision] == 5


def test_the_models_are_offered_anew_with_another_dataset_alone(picker):
    first = picker.update(values(picker, "breastmnist", "cnn"))
    assert set(first) == picker.outputs - {picker.subset}
    assert "2.8 M" in first[picker.headline]
    same = picker.update(values(picker, "breastmnist", "vit", first[picker.selection]))
    assert picker.model not in same
    assert picker.model in picker.update(values(picker, "retinamnist", "vit", first[picker.selection]))
