"""A row of small pictures as a component, each a button whose text says what it shows.

Its value is what `render` returns. A click on a picture triggers `select` with `index`, its place in the row.
The arrow keys walk through the pictures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from medvit.ui import html
from medvit.ui.components.base import component


def thumbnail_strip(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(
    title: str,
    pictures: Sequence[np.ndarray | Image.Image],
    descriptions: Sequence[str],
    selected: int | None = None,
) -> str:
    """The row as HTML; the selected picture is framed. Pictures are enlarged with hard pixel edges."""
    frames = list(zip(pictures, descriptions, strict=True))
    return html.render("thumbnail_strip.html", title=title, frames=frames, selected=selected)
