"""One picture as a component: a click says where, and it can be saved or fill the screen.

A gr.Image would do, but takes 27 ms longer and keeps a copy on the server's disk.
Its value is what `render` gives. A click on the picture triggers `select` with `x` and `y`, from 0 to 1.
"""

import html
from pathlib import Path

import gradio as gr
from PIL import Image

from medvit.plots import data_url
from medvit.ui.components.base import component

ICON = (
    "<svg viewBox='0 0 16 16' width='16' height='16' aria-hidden='true'>"
    "<path d='{}' fill='none' stroke='currentColor' stroke-width='1.5'/></svg>"
)
ENLARGE = ICON.format("M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4")
SAVE = ICON.format("M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11")


def overlay(**options) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(picture: Image.Image, words: str) -> str:
    """The picture as HTML, with what it shows in words."""
    return (
        f"<img src='{data_url(picture)}' alt='{html.escape(words)}'><div>"
        f"<button type='button' data-do='enlarge' aria-label='Fill the screen'>{ENLARGE}</button>"
        f"<button type='button' data-do='save' aria-label='Save the picture'>{SAVE}</button></div>"
    )
