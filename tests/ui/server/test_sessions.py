"""The states of all visitors are bounded in number and in memory, and shared by address."""

import itertools
from dataclasses import dataclass

import gradio as gr
import numpy as np
import pytest
import torch

import medvit
from medvit.data import synthetic
from medvit.ui.server.sessions import SessionHolder, size_of


@dataclass
class Pair:
    first: object
    second: object


def test_tensors_arrays_and_texts_are_counted_once():
    array = np.zeros(100, np.float32)
    state = Pair({"a": torch.zeros(10), "b": [array, array]}, ("text", None, 5))
    counted = set()
    assert size_of(state, counted) == 40 + 400 + len("abtext")
    assert size_of([array], counted) == 0


def test_the_attention_of_a_prediction_is_counted(trained):
    prediction = medvit.load("breastmnist", "spt_lsa", trained).predict(synthetic.draw("breastmnist", 0))
    assert size_of(prediction, set()) > prediction.forward_pass.attentions.nbytes


@pytest.fixture
def holder():
    """The sessions of a small app that keeps four of them; its state is in `holder.state`."""
    with gr.Blocks() as demo:
        state, text = gr.State(), gr.Textbox()
        text.change(str, [state, text], text)
    demo.state_session_capacity = 4
    holder = SessionHolder(demo)
    holder.state = state._id
    return holder


def visit(holder, name, address, size=0):
    """A request of a session; it gets an answer of `size` bytes, if any."""
    holder.remember(name, address)
    session = holder[name]
    if size:
        session[holder.state] = np.zeros(size, np.uint8)


def test_the_oldest_session_of_the_address_with_the_most_leaves_first(holder):
    for name, address in (("a1", "a"), ("b1", "b"), ("b2", "b"), ("b3", "b"), ("b1", "b"), ("c1", "c")):
        visit(holder, name, address, 10)
    assert list(holder.session_data) == ["a1", "b3", "b1", "c1"]
    assert holder["a1"][holder.state].nbytes == 10


def test_sessions_without_an_answer_leave_before_all_others(holder):
    visit(holder, "a1", "a", 10)
    visit(holder, "a2", "a", 10)
    for i in range(500):
        visit(holder, f"made up {i}", f"attacker {i % 7}")
    assert {"a1", "a2"} < set(holder.session_data)
    assert len(holder.session_data) == 4


def test_a_session_that_no_request_named_is_not_kept(holder):
    holder["event"][holder.state] = 1
    assert holder["event"].state_data == {}
    assert len(holder.session_data) == 0


def test_what_was_sent_to_a_component_is_not_kept(holder):
    visit(holder, "a1", "a")
    text = next(key for key, block in holder.blocks.blocks.items() if isinstance(block, gr.Textbox))
    session = holder["a1"]
    session._update_value_in_config(text, "x" * 10_000)
    session[text] = gr.Textbox(label="changed", render=False)
    assert session[text].label == "changed"
    assert session.config_values == {}
    assert holder.blocks.blocks[text].label != "changed"


def test_the_address_that_uses_the_most_memory_loses_its_oldest_session_first(holder):
    holder.capacity = 10
    for i in range(5):
        visit(holder, f"a{i}", "a", 1000)
    visit(holder, "b1", "b", 3000)
    holder.limit_memory(8000)
    assert len(holder.session_data) == 6
    holder.limit_memory(6500)
    assert list(holder.session_data) == ["a2", "a3", "a4", "b1"]
    holder.limit_memory(0)
    assert not holder.session_data


def test_sessions_that_move_to_another_address_meanwhile_are_dropped_too(holder, monkeypatch):
    holder.capacity = 10
    for name in ("a", "b", "c"):
        visit(holder, name, "x", 1000)
    addresses = map(str, itertools.count())
    monkeypatch.setattr(holder, "address_of", lambda name: next(addresses))  # another one at each call
    holder.limit_memory(1500)
    assert len(holder.session_data) == 1
