"""What the server holds for the page of a visitor, and how errors reach it.

How the screens are wired: an event takes a set of components and calls its function with a dict {component:
value}; the function returns a dict {component: value} of what changes, or `gr.skip()` where nothing does
(never `{}`). A panel is a frozen dataclass of its components, laid out by a function `build`; its
`options(values)` reads the controls, and its `update(...)` returns what it displays as such a dict, so that
panels compose by `a | b`. A tab is a panel with the sets `inputs` and `outputs`, whose `update(values)`
ui/app.py calls when the tab is opened and when the selection changes.

Gradio sets outputs one after the other in the order of their ids, and another event may read in between. What
has to change together is therefore one state: `Selection` for all tabs, `Answer` for what Explore displays.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr

from medvit import limits
from medvit.errors import MedvitError
from medvit.inference.predictor import Prediction
from medvit.inference.sample import Sample
from medvit.slow_imports import import_slow_libraries
from medvit.ui.server.responses import hide_folders

Values = dict[Any, Any]  # {component: value}
T = TypeVar("T")

# Options of events: hidden from programs; also without a spinner; also past the queue.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
NO_SPINNER: dict[str, Any] = PRIVATE | {"show_progress": "hidden"}
AT_ONCE: dict[str, Any] = NO_SPINNER | {"queue": False}

STATE_SECONDS = 3600  # a state with attention maps or results is released after this time


@dataclass(frozen=True)
class Selection:
    """The dataset, the model and the image that the tabs are about.

    `revision` counts the changes of the dataset and of the model.
    """

    subset: str
    model: str
    sample: Sample
    revision: int = 0

    @property
    def checkpoint(self) -> tuple[str, str]:
        """(subset, model), the arguments of `Registry.checkpoint` and `Registry.predictor`."""
        return self.subset, self.model

    def is_same(self, selection: "Selection | None") -> bool:
        """Whether both are about the same image and the same model."""
        return (
            selection is not None
            and self.checkpoint == selection.checkpoint
            and self.sample is selection.sample
        )


@dataclass(frozen=True)
class Answer:
    """What Explore displays: a selection and the prediction for it."""

    selection: Selection
    prediction: Prediction


def connect(
    listener: Callable[..., Any],
    function: Callable[..., Values | Iterator[Values]],
    inputs: Iterable[Any] | None,
    outputs: Iterable[Any],
    **options: Any,
) -> Any:
    """Call `function({component: value of each input})` on an event, and set what its dict returns.

    Args:
        listener: an event of a component, such as `button.click`.
        outputs: every component that the function may return.
        options: of the listener.
    """
    return listener(function, None if inputs is None else set(inputs), set(outputs), **options)


def require_state(state: T | None) -> T:
    """Return the state of a visitor; raises MedvitError where it has expired."""
    if state is None:
        raise MedvitError(
            "This page was left for so long that its results have expired. Pick an image again."
        )
    return state


@contextmanager
def _user_errors() -> Iterator[None]:
    try:
        yield
    except MedvitError as error:
        text = hide_folders(str(error)[: limits.ERROR_CHARACTERS])
        raise gr.Error(text, title="That did not work", print_exception=False) from error


def show_user_errors(function: Callable) -> Callable:
    """Show a MedvitError as its one sentence; any other exception is a bug and stays loud in the log.

    A generator function remains one, as Gradio tells them apart.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import_slow_libraries()
        with _user_errors():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def generator(*args, **kwargs):
        import_slow_libraries()
        with _user_errors():
            yield from function(*args, **kwargs)

    return generator if inspect.isgeneratorfunction(function) else wrapper
