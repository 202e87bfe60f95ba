"""The t-SNE of a test split as a component: one point per image, close where the features are alike.

Drawn on a canvas, as the test split of PathMNIST has 7,180 images. Its value is what `points` returns. A
click on a point, or Enter on the point reached by the arrow keys, triggers `select` with `index`, that of the
test image.
"""

import base64
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medvit.data import short_name
from medvit.plots import COLOURS
from medvit.ui.components.base import component


def embedding_plot(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def points(
    embedding: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    correct: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """The component's value: packed arrays that its script draws.

    Args:
        embedding: (N, 2), within -1..1.
        truth, predicted: (N,) indices of `classes`.
        correct: (N,) bool.
        probs: (N,), the probability of the predicted class.
    """
    return {
        "positions": _pack((np.asarray(embedding, np.float32) * 32767).round().astype("<i2")),
        "truth": _pack(truth.astype("<u2")),
        "predicted": _pack(predicted.astype("<u2")),
        "correct": _pack(correct.astype(np.uint8)),
        "probs": _pack((probs * 1000).round().astype("<i2")),
        "classes": [short_name(name) for name in classes],
        "colours": [COLOURS[i % len(COLOURS)] for i in range(len(classes))],
    }


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
