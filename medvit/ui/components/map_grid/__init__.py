"""Small maps of one image as a component: each is a button with its title and its faithfulness below.

Its value is the template map_grid.html. A click on a map triggers `select` with `name`, that of the map.
"""

from pathlib import Path
from typing import Any

import gradio as gr

from medvit.ui.components.base import component


def map_grid(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)
