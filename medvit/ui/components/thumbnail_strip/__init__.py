"""A row of small pictures as a component, each a button that says in words what it shows.

Its value is what `render` gives. A click on a picture triggers `select` with `index`, its place in the row.
"""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from medvit.plots import data_url
from medvit.ui.components.base import component


def film(**options) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(
    title: str,
    pictures: Sequence[np.ndarray | Image.Image],
    words: Sequence[str],
    chosen: int | None = None,
) -> str:
    """The row as HTML; the chosen picture is framed. Pictures are enlarged with hard pixel edges."""
    frames = "".join(
        f"<button type='button' data-index='{i}' aria-pressed='{str(i == chosen).lower()}'>"
        f"<img src='{data_url(picture)}' alt='{html.escape(text)}' title='{html.escape(text)}'></button>"
        for i, (picture, text) in enumerate(zip(pictures, words, strict=True))
    )
    return f"<p>{html.escape(title)}</p><div class='frames'>{frames}</div>"
