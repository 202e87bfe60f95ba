"""The section of similar images."""

import gradio as gr
import numpy as np
import pytest

from medvit.inference.retrieval import Neighbour
from medvit.ui.panels import similar


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        return similar.build(registry, gr.State(), gr.HTML())


def test_a_closed_section_computes_nothing(panel, answer_of):
    answer = answer_of("breastmnist", "cnn")
    assert panel.update({panel.answer: answer, panel.is_open: False}) == gr.skip()
    assert panel.update({panel.answer: None, panel.is_open: True}) == gr.skip()
    assert panel.close()[panel.is_open] is False


def test_without_data_the_section_says_how_to_get_them(panel, answer_of):
    opened = panel.open({panel.answer: answer_of("breastmnist", "cnn"), panel.is_open: False})
    assert opened[panel.is_open] is True
    assert "download" in opened[panel.pictures]
    assert not opened[panel.start].visible
    assert panel.open({panel.answer: None, panel.is_open: False}) == {panel.is_open: True}


def test_an_expired_answer_is_one_sentence(panel):
    with pytest.raises(gr.Error, match="Pick an image again"):
        panel.compute({panel.answer: None, panel.is_open: True})


def test_the_nearest_images_are_marked_by_their_true_class(answer_of):
    prediction = answer_of("breastmnist", "cnn").prediction
    neighbours = [
        Neighbour("test", 7, np.array(label), np.zeros((28, 28), np.uint8), 0.9) for label in (0, 1, 1)
    ]
    page = similar.render(prediction, {"train": neighbours[:1], "test": neighbours}, 546)
    agreeing = 2 if prediction.top == 1 else 1
    assert f"{agreeing} of 3 have the predicted class" in page
    assert "of 546 compared" in page
    assert page.count("data-index") == 3  # training images cannot be opened
