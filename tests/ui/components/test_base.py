"""Components of Gradio with methods replaced."""

import gradio as gr
import pytest

from medvit.ui.components.base import lenient


@pytest.mark.parametrize("kind", [gr.Radio, gr.Dropdown])
def test_a_choice_that_is_no_longer_offered_becomes_one_that_is(kind):
    choices = lenient(kind)([("A", "a"), ("B", "b")], render=False)
    assert [choices.preprocess(value) for value in ("b", "gone", None, ["a"])] == ["b", "a", "a", "a"]
    assert lenient(kind)([], render=False).preprocess("a") is None


def test_a_slider_value_is_clamped():
    slider = lenient(gr.Slider)(1, 9, 9, step=1, render=False)
    assert [slider.preprocess(value) for value in (3, 12, 0)] == [3, 9, 1]
    with pytest.raises(TypeError):
        slider.preprocess("/secret")
