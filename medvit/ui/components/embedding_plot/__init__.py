"""The map of the test split as a component: one point an image, those alike to the model side by side.

Drawn on a canvas, as a PathMNIST test split has 7,180 points. Its value is what `points` gives. A click on
a point, or Enter on the one that the arrow keys have reached, triggers `select` with `index`, that of the
test image.
"""

import base64
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medvit.data.medmnist import short_name
from medvit.plots import COLOURS
from medvit.ui.components.base import component


def split_map(**options) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def points(
    plane: np.ndarray,
    truth: np.ndarray,
    guess: np.ndarray,
    right: np.ndarray,
    probs: np.ndarray,
    groups: tuple[str, ...],
) -> dict[str, Any]:
    """The component's value: what it draws, packed.

    Args:
        plane: (N, 2), within -1..1. truth, guess: (N,) indices of `groups`. right: (N,) bool. shares: (N,),
            the probability of the guess. groups: names of the classes.
    """
    return {
        "positions": _pack((np.asarray(plane, np.float32) * 32767).round().astype("<i2")),
        "truth": _pack(truth.astype(np.uint8)),
        "guess": _pack(guess.astype(np.uint8)),
        "right": _pack(right.astype(np.uint8)),
        "shares": _pack((probs * 1000).round().astype("<i2")),
        "groups": [short_name(name) for name in groups],
        "colours": [COLOURS[i % len(COLOURS)] for i in range(len(groups))],
    }


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
