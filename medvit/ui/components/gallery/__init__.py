"""A page of test images as a component: each picture is a button with its probability below.

Its value is what `render` returns. A click on a picture triggers `select` with `index`, that of the test
image; a click on a page button triggers `turn` with `number`. The arrow keys walk through pictures and pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medvit.ui import html
from medvit.ui.components.base import component

PAGE = 60


@dataclass(frozen=True)
class Item:
    """One image: its index in the test split, the caption below it, and a description in words.

    Without an index it is displayed, but cannot be opened.
    """

    index: int | None
    caption: str
    description: str


def gallery(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)


def render(
    title: str,
    note: str,
    items: list[Item],
    pictures: Sequence[np.ndarray] | np.ndarray | None,
    page: int = 0,
    count: int = 0,
) -> str:
    """One page of images as HTML.

    Args:
        items: those of this page.
        pictures: uint8, (N, s, s) or (N, s, s, 3), the images of the items in their order; None where they
            are not on disk: then the items are a list of descriptions.
        page: its number, from 0.
        count: number of images on all pages, `PAGE` on each.
    """
    tiles = None if pictures is None else list(zip(items, pictures, strict=True))
    pages = -(-count // PAGE)
    return html.render(
        "gallery.html", title=title, note=note, items=items, tiles=tiles, page=page, pages=pages
    )
