"""The introduction on the first visit: three steps, each with the part of the screen it is about outlined.

It lies over the tagline, on narrow windows at the bottom edge, so nothing moves and nothing is blocked. The
browser remembers that it was closed.
"""

from pathlib import Path

import gradio as gr

from medvit.ui import html
from medvit.ui.components.base import component

STEPS = {  # part of the screen -> what to do there
    "#picture": "Drop an image of your own, or pick an example below.",
    "#heatmap": "See where the model looks. Hold the eye to hide the map.",
    "#answer": "See how far to trust it. Dotted words explain themselves.",
}


def introduction() -> gr.HTML:
    """The component; the page needs one."""
    value = html.render("introduction.html", steps=STEPS)
    return component(Path(__file__).parent, value=value, elem_id="introduction")
