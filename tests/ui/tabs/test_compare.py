"""The Compare tab."""

from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.ui import html
from medvit.ui.state import Selection
from medvit.ui.tabs import compare


@pytest.fixture(scope="module")
def tab(registry):
    with gr.Blocks():
        return compare.build(registry, gr.State())


def test_every_model_has_a_column_and_the_best_is_first(tab, registry):
    selection = Selection("pathmnist", "cnn", registry.examples("pathmnist")[0])
    page = tab.update({tab.selection: selection, tab.method: "rollout"})[tab.result]
    assert page.count("<section") == 4
    assert page.index("fine-tuned") < page.index("ResNet")
    assert "Rollout needs attention over all patches." in page
    assert page.count('alt="Rollout map for') == 3


def test_an_expired_selection_is_one_sentence(tab):
    with pytest.raises(gr.Error, match="Pick an image again"):
        tab.update({tab.selection: None, tab.method: "grad_cam"})


def test_the_agreement_is_one_line():
    predictions = [SimpleNamespace(label=label) for label in ("a", "b", "a")]
    assert compare.votes(predictions) == [("a", 2), ("b", 1)]
    column = {"title": "t", "headline": "", "picture": None, "description": "", "answer": ""}
    page = html.render("compare.html", votes=[("a", 2), ("b", 1)], count=3, columns=[column] * 3)
    assert "The 3 models disagree: 2 say" in page
    assert "1 says" in page
    page = html.render("compare.html", votes=[("a", 3)], count=3, columns=[column] * 4)
    assert "All 3 models say" in page
    assert "Models with other classes are displayed as well." in page
    assert "different classes" in html.render("compare.html", votes=[], count=1, columns=[column] * 2)
