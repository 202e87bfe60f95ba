"""How our own components are made: a folder with a template, a style and a script, displayed by gr.HTML."""

from abc import ABCMeta
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr


def component(folder: Path, **options: Any) -> gr.HTML:
    """A gr.HTML of the files `template.html`, `style.css` and `script.js` in a folder.

    The style that several of them share is in `base.css`. This is a function, as Gradio writes a stub file
    into the package for every subclass of a component.
    """
    template, style, script = (
        (folder / name).read_text("utf-8") for name in ("template.html", "style.css", "script.js")
    )
    common = Path(__file__).with_suffix(".css").read_text("utf-8")
    return gr.HTML(
        html_template=template,
        css_template=common + style,
        js_on_load=script,
        apply_default_css=False,
        **options,
    )


def variant(base: type[gr.components.Component], **methods: Callable) -> Any:
    """A subclass of a Gradio component with some methods replaced, under the name of the original.

    It is a class, as Gradio creates a component anew to update it, and even to skip it: methods that were set
    on the instance would be lost. It is created past Gradio's metaclass, which would write a stub file beside
    the source of the class.
    """
    return ABCMeta.__new__(type(base), base.__name__, (base,), {"__module__": base.__module__, **methods})


def lenient(base: type[gr.components.Component]) -> Any:
    """A gr.Radio, Dropdown or Slider that replaces a value it does not offer by one that it does.

    A page may send the value that it displayed before the last answer of the server, with other choices, had
    arrived.
    """
    return variant(base, preprocess=_clamp if issubclass(base, gr.Slider) else _offered)


def _clamp(self, payload):
    return gr.Slider.preprocess(self, min(max(payload, self.minimum), self.maximum))


def _offered(self, payload):
    values = [value for _, value in self.choices]
    return payload if payload in values else next(iter(values), None)
