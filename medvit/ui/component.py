"""How our own components are made: a folder with a template, a style and a script, shown by gr.HTML."""

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
