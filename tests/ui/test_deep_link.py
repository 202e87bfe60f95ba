"""Links to a view: what they open, and what a wrong one says."""

from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import pytest

from medvit.errors import MedvitError
from medvit.ui import deep_link, pickers
from medvit.ui.deep_link import Links
from medvit.ui.state import Selection

TABS = {"explore": "Explore", "test-set": "Test set"}
FULL = {
    "dataset": "breastmnist", "model": "vit", "index": "7", "map": "rollout", "tab": "test-set",
}  # fmt: skip


@pytest.fixture
def links(registry):
    with gr.Blocks():
        picker = pickers.build(registry)
        with gr.Tabs() as tab_bar:
            for identifier, label in TABS.items():
                gr.Tab(label, id=identifier)
        return Links(picker, tab_bar, gr.State("Explore"), gr.Radio(), gr.State())


def opened(links, kept=None, /, **query):
    picker = links.pickers
    values = {component: component.value for component in picker.inputs}
    return links.open(values, SimpleNamespace(query_params=query), kept)


def test_a_full_link_opens_exactly_that_view(links):
    changes = opened(links, **FULL)
    selection = changes[links.pickers.selection]
    assert selection.checkpoint == ("breastmnist", "vit")
    assert selection.sample.index == 7
    assert changes[links.pickers.subset] == "breastmnist"
    assert changes[links.linked_map] == "rollout"
    assert changes[links.open_tab] == "Test set"
    assert changes[links.tab_bar].selected == "test-set"
    assert set(changes) <= links.outputs


def test_the_link_to_a_view_opens_it_again(links, registry):
    selection = Selection("breastmnist", "vit", registry.sample("breastmnist", 7))
    values = {links.pickers.selection: selection, links.open_tab: "Test set", links.method: "rollout"}
    (query,) = links.query(values | {links.linked_map: None})
    assert dict(parse_qsl(query)) == FULL


def test_work_that_the_browser_keeps_is_opened_where_the_address_is_no_link(links):
    kept = {"dataset": "breastmnist", "model": "vit", "tab": "test-set"}

    def checkpoint(**query):
        picker = links.pickers
        values = {component: component.value for component in picker.inputs}
        changes = links.open(values, SimpleNamespace(query_params=query), kept)
        return changes[picker.selection].checkpoint, changes.get(links.open_tab)

    assert checkpoint(__theme="dark") == (("breastmnist", "vit"), "Test set")
    assert checkpoint(tab="test-set") == (("breastmnist", "vit"), "Test set")
    assert checkpoint(tab="explore") == (("bloodmnist", "vit_finetuned"), "Explore")
    assert checkpoint(dataset="pathmnist", model="cnn") == (("pathmnist", "cnn"), None)


def test_every_part_is_optional(links, registry):
    view = deep_link.read({"dataset": "pathmnist"}, registry, TABS)
    assert (view.model, view.sample, view.method, view.tab) == ("vit_finetuned", None, None, None)
    assert deep_link.read({"index": "3"}, registry, TABS).subset == registry.subset_choices()[0][1]
    assert deep_link.read({"__theme": "dark"}, registry, TABS) is None
    assert opened(links, map="occlusion")[links.linked_map] == "occlusion"


def test_an_upload_is_not_part_of_a_link(registry):
    upload = registry.sample("breastmnist", 0)
    upload = type(upload)(upload.subset, upload.source, "your image")
    assert "index" not in deep_link.query(Selection("breastmnist", "cnn", upload), None, "explore")


@pytest.mark.parametrize(
    "query",
    [
        {"dataset": "<script>alert(1)</script>"},
        {"dataset": "../../etc/passwd"},
        {"dataset": "breastmnist", "model": "vit/../cnn"},
        *({"index": index} for index in ("-1", "1e3", "12", "9" * 20, "٣", "0x1", " 1")),
        {"model": "cnn", "map": "rollout"},
        {"map": "__class__"},
        {"tab": "settings"},
    ],
    ids=str,
)
def test_a_wrong_link_is_one_sentence_that_repeats_nothing_and_the_default_view(links, registry, query):
    with pytest.raises(MedvitError, match=r"^The link asks for [a-z ]+, so the default view is shown\.$"):
        deep_link.read(query, registry, TABS)
    changes = opened(links, **query)
    assert changes[links.pickers.selection].subset == registry.subset_choices()[0][1]
    assert links.tab_bar not in changes
