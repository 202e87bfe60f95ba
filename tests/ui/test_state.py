"""What the server holds for a page, and how errors reach it."""

import gradio as gr
import pytest

from medvit.errors import MedvitError
from medvit.ui.state import Selection, require_state, show_user_errors


def test_selections_are_the_same_with_the_same_image_and_model(registry):
    first, second = registry.examples("breastmnist")[:2]
    selection = Selection("breastmnist", "cnn", first)
    assert selection.is_same(Selection("breastmnist", "cnn", first))
    assert not selection.is_same(Selection("breastmnist", "vit", first))
    assert not selection.is_same(Selection("breastmnist", "cnn", second))
    assert not selection.is_same(None)


def test_an_expired_state_is_a_user_error():
    assert require_state(0) == 0
    with pytest.raises(MedvitError, match="expired"):
        require_state(None)


@show_user_errors
def returns(error):
    if error:
        raise error
    return "result"


@show_user_errors
def yields(error):
    yield "step"
    yield returns(error)


def test_a_user_error_is_displayed_in_functions_and_generators():
    assert returns(None) == "result"
    assert list(yields(None)) == ["step", "result"]
    for call in (lambda error: returns(error), lambda error: list(yields(error))):
        with pytest.raises(gr.Error, match="one sentence"):
            call(MedvitError("one sentence"))
        with pytest.raises(ZeroDivisionError):
            call(ZeroDivisionError())
