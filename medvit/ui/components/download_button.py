"""A button that saves text as a file on the visitor's machine, without a copy on the disk of the server."""

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr

from medvit.ui.state import NO_SPINNER, PRIVATE, show_user_errors

# The text arrives as (name, content); the address of the blob is released once the browser has taken it.
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
    label: str,
    make: Callable[[dict[Any, Any]], tuple[str, str]],
    inputs: Iterable[gr.components.Component],
    concurrency_id: str | None = None,
    **options: Any,
) -> gr.Button:
    """A button that saves the (file name, text) that ``make({component: value of each input})`` returns."""
    save = gr.Button(label, **options)
    file = gr.JSON(visible="hidden")

    def to_json(values: dict[Any, Any]) -> list[str]:
        return list(make(values))  # gr.JSON takes a tuple only with a warning

    clicked = save.click(
        show_user_errors(to_json), set(inputs), file, concurrency_id=concurrency_id, **NO_SPINNER
    )
    clicked.success(None, file, None, js=_SAVE, **PRIVATE)
    return save
