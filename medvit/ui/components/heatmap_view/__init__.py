"""A picture and its heatmap side by side as a component: a click gives the place, and the map can be saved.

A gr.Image would do, but takes 27 ms longer and keeps a copy on the disk of the server.
Its value is what `render` returns. One of its buttons, held down, shows the picture alone. A click on either
picture triggers `select` with `x` and `y`, from 0 to 1. So does the keyboard: the arrow keys move a button
from patch to patch of the map.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from medvit.ui import html
from medvit.ui.components.base import component


def heatmap_view(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(
    picture: Image.Image, overlay: Image.Image, description: str, grid: tuple[int, int] | None = None
) -> str:
    """The picture alone and under its heatmap as HTML; `description` says what the map shows.

    `grid`: rows and columns of the patches, where a patch can be selected.
    """
    return html.render(
        "heatmap_view.html", picture=picture, overlay=overlay, description=description, grid=grid
    )
