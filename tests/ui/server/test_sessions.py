"""The states of all visitors together have a memory budget."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

import medvit
from medvit.data import synthetic
from medvit.ui.server.sessions import drop_oldest, size_of


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


def test_the_least_recently_active_visitors_lose_their_state_first():
    sessions = OrderedDict(
        (f"visitor {i}", SimpleNamespace(state_data={1: np.zeros(1000, np.uint8)})) for i in range(10)
    )
    holder = SimpleNamespace(session_data=sessions, time_last_used={}, lock=threading.Lock())
    drop_oldest(holder, 10_000)
    assert len(sessions) == 10
    drop_oldest(holder, 3500)
    assert list(sessions) == ["visitor 7", "visitor 8", "visitor 9"]
