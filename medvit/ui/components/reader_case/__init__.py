"""One case of a reader study as a component: the image, the advice, and the answer by mouse, finger or key.

Its value is what `ui/panels/reader_case.py` renders. A committed answer triggers `commit` with `case`,
`phase`, `answer`, `confidence` and `seconds`; a look at the truth ends with `proceed`; `discard` drops the
study. What is not committed yet, and the time it took so far, stay in the page.
"""

from pathlib import Path
from typing import Any

import gradio as gr

from medvit.ui.components.base import component

FOLLOW_OTHER_TABS = Path(__file__).with_name("other_tabs.js").read_text("utf-8")  # for the load of the page


def reader_case(**options: Any) -> gr.HTML:
    """The component."""
    return component(Path(__file__).parent, **options)
