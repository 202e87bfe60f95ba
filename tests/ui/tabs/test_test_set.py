"""The Test set tab as a whole: what the interface calls."""

from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.ui.panels.cell_gallery import GallerySelection
from medvit.ui.state import Selection
from medvit.ui.tabs import test_set

CHECKPOINT = ("breastmnist", "cnn")


@pytest.fixture(scope="module")
def tab(registry):
    with gr.Blocks():
        return test_set.build(registry, gr.State())


def inputs(tab, displayed=None, open_tab="ROC"):
    selection = Selection(*CHECKPOINT, None)
    return {tab.selection: selection, tab.displayed: displayed, tab.plots.open_tab: open_tab}


def gallery_inputs(tab, other_name="", selection=None, displayed=CHECKPOINT):
    return {
        tab.displayed: displayed, tab.other_model: other_name,
        tab.gallery_selection: selection or GallerySelection(),
    }  # fmt: skip


def test_a_model_is_displayed_once(tab):
    update = tab.update(inputs(tab))
    assert set(update) <= tab.outputs
    assert update[tab.displayed] == CHECKPOINT
    assert "Most confident errors" in update[tab.gallery]
    assert ("no other model", "") in update[tab.other_model].choices
    assert CHECKPOINT[1] not in [name for _, name in update[tab.other_model].choices]
    assert tab.update(inputs(tab, displayed=CHECKPOINT)) == gr.skip()


def test_only_the_open_plot_is_drawn(tab):
    update = tab.update(inputs(tab, open_tab="Per class"))
    drawn = {component for component in update if component in tab.plots.outputs}
    assert drawn == set(tab.plots.components["Per class"])


def test_a_comparison_counts_the_disagreements_and_can_be_ended(tab):
    update = tab.compare(gallery_inputs(tab, "vit"))
    assert update[tab.disagreements].interactive
    assert "image" in update[tab.disagreements].value
    assert update[tab.gallery_selection] == GallerySelection("disagreements")
    update = tab.compare(gallery_inputs(tab))
    assert not update[tab.disagreements].interactive
    assert update[tab.gallery_selection] == GallerySelection()


def test_a_click_on_a_cell_shows_its_images(tab):
    update = tab.show_cell(gallery_inputs(tab), SimpleNamespace(row=1, column=0))
    assert update[tab.gallery_selection] == GallerySelection("cell", 1, 0)
    assert "the model says malignant" in update[tab.gallery]
    assert set(update) == tab.gallery_outputs


def test_a_page_is_turned_within_the_selection(tab):
    selection = GallerySelection("cell", 1, 1)
    update = tab.turn_page(gallery_inputs(tab, selection=selection), SimpleNamespace(number=1))
    assert update[tab.gallery_selection] == selection
    assert "page 2 of" in update[tab.gallery]


@pytest.mark.parametrize("name", ["show_errors", "show_disagreements", "compare"])
def test_a_page_whose_state_has_expired_says_so(tab, name):
    with pytest.raises(gr.Error, match="expired"):
        getattr(tab, name)(gallery_inputs(tab, displayed=None))
