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


def current(base: type[gr.components.Component]) -> Any:
    """A gr.Radio, Dropdown or Slider that takes what it does not offer for the nearest that it does.

    A page may send what it showed before the server's last answer, with other choices, had reached it.
    """
    return variant(base, preprocess=_within if issubclass(base, gr.Slider) else _offered)


def _within(self, payload):
    return gr.Slider.preprocess(self, min(max(payload, self.minimum), self.maximum))


def _offered(self, payload):
    offered = [value for _, value in self.choices]
    return payload if payload in offered else next(iter(offered), None)
