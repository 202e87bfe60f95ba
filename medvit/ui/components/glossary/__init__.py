"""The explanations of terms as a component: one hidden list for the page, and one box that shows an entry.

Elements with the class `term` (see `html.render`) show their entry on hover, focus and tap; so do labels of
other components whose whole text is a term, such as "Prediction set" or "Rollout".
"""

import json
from pathlib import Path

import gradio as gr

from medvit.ui import glossary, html
from medvit.ui.components.base import component


def tooltips() -> gr.HTML:
    """The component; the page needs one."""
    return component(
        Path(__file__).parent,
        value=html.render("glossary.html", terms=glossary.TERMS),
        elem_id="glossary",
        names=json.dumps(glossary.names()),
    )
