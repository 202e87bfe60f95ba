"""How our own components are made: a folder with a template, a style and a script, shown by gr.HTML."""

from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr


def component(folder: Path, **options: Any) -> gr.HTML:
    """A gr.HTML of the files `template.html`, `style.css` and `script.js` in a folder.

    What several of them have in common is in `component.css`.

    A function, as Gradio writes a stub file into the package for every subclass of a component.
    """
    template, style, script = (
        (folder / name).read_text() for name in ("template.html", "style.css", "script.js")
    )
    common = Path(__file__).with_suffix(".css").read_text()
    return gr.HTML(
        html_template=template,
        css_template=common + style,
        js_on_load=script,
        apply_default_css=False,
        **options,
    )


def variant(base: type[gr.components.Component], **methods: Callable) -> Any:
    """A component of Gradio's with some methods of ours, under its own name.

    A class, as Gradio makes a component anew to update it, and even to skip it: what was set on the instance
    is lost then. Made past Gradio's metaclass, which would write a stub file beside the source of the class.
    """
    return ABCMeta.__new__(type(base), base.__name__, (base,), {"__module__": base.__module__, **methods})
