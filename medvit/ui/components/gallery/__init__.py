"""A page of test images as a component: each picture a button with its probability, and pages to turn.

Its value is what `render` gives. A click on a picture triggers `select` with `index`, that of the test
image; one on a page button triggers `turn` with `number`.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from medvit.plots import data_url
from medvit.ui.components.base import component

PAGE = 60


@dataclass(frozen=True)
class Item:
    """One image: its index in the test split, what stands below it, and what it is in words.

    Without an index it is shown, but cannot be opened.
    """

    index: int | None
    caption: str
    words: str


def gallery(**options) -> gr.HTML:
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
        items: those of this page. pictures: uint8, (N, s, s) or (N, s, s, 3), the images of the items in
            their order; None where they are not on disk, and then the items are a list of words.
        page: its number, from 0, of `count` images in all at `PAGE` a page.
    """
    if pictures is None:
        tiles = "".join(f"<li class='words'>{html.escape(item.words)}</li>" for item in items)
    else:
        tiles = "".join(_tile(item, picture) for item, picture in zip(items, pictures, strict=True))
    pages = -(-count // PAGE)
    turn = ""
    if pages > 1:
        back = _turn(page - 1, "‹ back", page > 0)
        on = _turn(page + 1, "on ›", page + 1 < pages)
        turn = f"<nav aria-label='Pages'>{back}<span>page {page + 1} of {pages}</span>{on}</nav>"
    return (
        f"<div role='status'><p class='title'>{html.escape(title)}</p><p "
        f"class='note'>{html.escape(note)}</p></div>"
        f"<ul class='{'list' if pictures is None else 'tiles'}'>{tiles}</ul>{turn}"
    )


def _tile(item: Item, picture: np.ndarray) -> str:
    words = html.escape(item.words, quote=True)
    picture_and_caption = (
        f"<img src='{data_url(picture)}' alt='{words}' width='56' height='56'>"
        f"<span aria-hidden='true'>{html.escape(item.caption)}</span>"
    )
    if item.index is None:
        return f"<li><div class='tile' title='{words}'>{picture_and_caption}</div></li>"
    return (
        f"<li><button type='button' class='tile' data-index='{item.index}' title='{words}'>"
        f"{picture_and_caption}</button></li>"
    )


def _turn(page: int, text: str, possible: bool) -> str:
    return f"<button type='button' data-page='{page}'{'' if possible else ' disabled'}>{text}</button>"
