"""Links to a view, such as ?dataset=bloodmnist&model=vit_finetuned&index=17&map=relevance&tab=explore.

Each part may be missing. A link comes from anywhere, so nothing of it is used before it is known to exist,
and no part of it is repeated in a message.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.inference.sample import Sample
from medvit.ui.pickers import Pickers, model_choices
from medvit.ui.state import NO_SPINNER, PRIVATE, Selection, Values, require_state, show_user_errors

PARTS = ("dataset", "model", "index", "map", "tab")
MAX_DIGITS = 7

# The address bar gets the link as well: it can be copied from there where the clipboard is not allowed.
_COPY = """async ([query]) => {
  const address = `${location.origin}${location.pathname}?${query}`;
  history.replaceState(null, "", address);
  const button = document.querySelector("#copy-link");
  let done = "Link copied";
  try { await navigator.clipboard.writeText(address); } catch { done = "In the address bar"; }
  const label = button.textContent;
  if (button.dataset.busy) return;
  button.dataset.busy = "1";
  button.textContent = done;
  setTimeout(() => { button.textContent = label; delete button.dataset.busy; }, 2000);
}"""


@dataclass(frozen=True)
class View:
    """What a link opens; None stands for the default."""

    subset: str
    model: str
    sample: Sample | None = None
    method: str | None = None
    tab: str | None = None


def read(query: Mapping[str, str], registry: Registry, tabs: Collection[str]) -> View | None:
    """The view that a query asks for; None where it has no part of a link.

    Args:
        query: the parameters of the page's address.
        tabs: the ids of the tabs.

    Raises:
        MedvitError: a part names something that does not exist.
    """
    parts = {name: str(query[name]) for name in PARTS if query.get(name)}
    if not parts:
        return None
    subsets = [name for _, name in registry.subset_choices()]
    subset = _one_of(parts.get("dataset", subsets[0]), subsets, "a dataset that is not here")
    models = [name for _, name in model_choices(registry, subset)]
    model = _one_of(parts.get("model", models[0]), models, "a model that this dataset does not have")
    sample = _sample(registry, subset, parts["index"]) if "index" in parts else None
    method, tab = parts.get("map"), parts.get("tab")
    if method is not None:
        _one_of(method, registry.predictor(subset, model).methods(), "a map that this model does not have")
    if tab is not None:
        _one_of(tab, tabs, "a tab that does not exist")
    return View(subset, model, sample, method, tab)


def query(selection: Selection, method: str | None, tab: str) -> str:
    """The query of the link to a view; an upload is not part of it."""
    index = selection.sample.index
    parts = {"dataset": selection.subset, "model": selection.model, "index": index, "map": method, "tab": tab}
    return urlencode({name: value for name, value in parts.items() if value is not None})


@dataclass(frozen=True, eq=False)
class Links:
    """The links of a page: what they set, and the button that copies one.

    `open_tab` holds the label of the open tab, `linked_map` the map that the link to this page asks for.
    """

    pickers: Pickers
    tab_bar: gr.Tabs
    open_tab: gr.State
    method: gr.Radio
    linked_map: gr.State

    @property
    def inputs(self) -> set[Any]:
        """What `query` reads."""
        return {self.pickers.selection, self.method, self.linked_map, self.open_tab}

    @property
    def outputs(self) -> set[Any]:
        """What `open` sets."""
        return self.pickers.outputs | {self.linked_map, self.tab_bar, self.open_tab}

    @property
    def tabs(self) -> dict[str, str]:
        """Id of each tab -> its label."""
        tabs = (tab for tab in self.tab_bar.children if isinstance(tab, gr.Tab))
        return {str(tab.id): str(tab.label) for tab in tabs}

    def open(self, values: Values, request: gr.Request, kept: Mapping[str, str] | None = None) -> Values:
        """The view that the address of a page asks for, and a notice where it does not exist.

        Args:
            kept: the parts of a link to work that the browser keeps; they are opened where the address has no
                part of a link but the same tab.
        """
        parts: Mapping[str, str] = {
            name: value for name, value in request.query_params.items() if name in PARTS
        }
        view = None
        try:
            parts = kept if kept and parts in ({}, {"tab": kept["tab"]}) else parts
            view = read(parts, self.pickers.registry, self.tabs)
        except MedvitError as error:
            gr.Warning(str(error), title="This link did not work")
        if view is None:
            return self.pickers.update(values)
        changes: Values = {self.linked_map: view.method}
        if view.tab:
            changes |= {self.tab_bar: gr.Tabs(selected=view.tab), self.open_tab: self.tabs[view.tab]}
        return changes | self.pickers.open(values, view.subset, view.model, view.sample)

    def query(self, values: Values) -> list[str]:
        """The query of the link to the current view, as JSON for the script that copies it."""
        selection = require_state(values[self.pickers.selection])
        tab = next(name for name, label in self.tabs.items() if label == values[self.open_tab])
        return [query(selection, values[self.method] or values[self.linked_map], tab)]

    def connect(self, button: gr.Button) -> None:
        """Let a button, whose elem_id is copy-link, copy the link to the current view."""
        link = gr.JSON(visible="hidden")
        made = button.click(show_user_errors(self.query), self.inputs, link, queue=False, **NO_SPINNER)
        made.success(None, link, None, js=_COPY, **PRIVATE)


def _one_of(name: str, names: Collection[str], what: str) -> str:
    if name not in names:
        raise _refused(what)
    return name


def _sample(registry: Registry, subset: str, index: str) -> Sample:
    if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", index):
        raise _refused("an image that is not here")
    try:
        return registry.sample(subset, int(index))
    except MedvitError as error:
        raise _refused("an image that is not here") from error


def _refused(what: str) -> MedvitError:
    return MedvitError(f"The link asks for {what}, so the default view is shown.")
