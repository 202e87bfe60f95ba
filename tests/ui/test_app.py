"""How the whole interface is wired."""

import inspect

import gradio as gr
import pytest

from medvit.ui.app import build


@pytest.fixture(scope="module")
def demo(registry):
    return build(registry)


def test_what_reads_an_upload_is_ours_after_an_update_too(demo):
    """Gradio answers an update, and even a skip, with a new component of the same class and arguments."""
    names = ("image", "uploadbutton", "file", "imageeditor")
    readers = [block for block in demo.blocks.values() if block.get_block_name() in names]
    assert len(readers) == 6
    for reader in readers:
        created = type(reader)(**reader.constructor_args | {"render": False})
        assert created.preprocess.__func__.__module__.startswith("medvit.ui"), reader


def test_programs_see_the_documented_endpoints_alone(demo):
    visible = {event.api_name for event in demo.fns.values() if event.api_visibility == "public"}
    assert visible == {"predict", "explain", "confusion_matrix"}


def test_no_event_is_answered_with_the_data_of_an_earlier_one(demo):
    """With `always_last`, Gradio runs again with the data of the first event."""
    readers = [
        event
        for event in demo.fns.values()
        if event.fn and any(issubclass(kind, gr.EventData) for kind in annotations(event.fn))
    ]
    assert len(readers) > 10
    assert {event.trigger_mode for event in readers} == {"once", "multiple"}


def annotations(function):
    """The classes of a function's parameters."""
    kinds = (parameter.annotation for parameter in inspect.signature(function).parameters.values())
    return [kind for kind in kinds if isinstance(kind, type)]
