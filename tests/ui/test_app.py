"""How the whole interface is wired."""

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
