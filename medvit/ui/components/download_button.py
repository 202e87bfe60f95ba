"""A button that saves text as a file on the visitor's machine, without a copy on the server's disk."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from medvit.ui import parts

# The text comes as (name, content); the address of the blob is given back once the browser has taken it.
_SAVE = """([name, content]) => {
  if (!name) return;
  const url = URL.createObjectURL(new Blob([content], {type: "application/octet-stream"}));
  const link = Object.assign(document.createElement("a"), {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}"""


def button(
    label: str, make: Callable, inputs: list, concurrency_id: str | None = None, **options: Any
) -> gr.Button:
    """A button that calls ``make(*inputs)``, which returns (file name, text), and saves the text."""
    clicked = gr.Button(label, **options)
    parcel = gr.JSON(visible="hidden")
    clicked.click(
        parts.show_user_errors(make),
        inputs,
        parcel,
        api_visibility="private",
        show_progress="hidden",
        concurrency_id=concurrency_id,
    ).success(None, parcel, None, js=_SAVE, api_visibility="private")
    return clicked
