"""The interface: pickers on top, one tab per file in `tabs/` below."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import limits
from medvit.inference import service
from medvit.inference.registry import Registry
from medvit.ui import api, html, pickers, theme
from medvit.ui.api import Endpoints
from medvit.ui.components.glossary import tooltips
from medvit.ui.components.introduction import introduction
from medvit.ui.deep_link import Links
from medvit.ui.pickers import Pickers
from medvit.ui.server import setup
from medvit.ui.server.metrics import Metrics
from medvit.ui.server.origins import OriginPolicy
from medvit.ui.state import NO_SPINNER, PRIVATE, Values, require_state, show_user_errors
from medvit.ui.tabs import about, bulk, compare, data, explore, reader_study, test_set
from medvit.ui.tabs.explore import Explore
from medvit.ui.tabs.test_set import TestSet

RETENTION = (limits.RETENTION_SECONDS, limits.RETENTION_SECONDS)


def build(registry: Registry, call: Callable[..., dict[str, Any]] | None = None) -> gr.Blocks:
    """The whole interface over the checkpoints of a registry.

    Args:
        call: runs an endpoint of `medvit.inference.service` by name, such as `Worker.call`; by default it
            runs in this process.
    """
    with gr.Blocks(title="medvit", analytics_enabled=False, delete_cache=RETENTION) as demo:
        # First, so that its events get the plain names.
        api.build(Endpoints(registry, call or partial(service.call, registry)))
        copy_link = _build_header()
        picker = pickers.build(registry)
        selection = picker.selection
        tabs: dict[str, Any] = {}  # label -> the tab as a panel
        listeners: dict[str, gr.Tab] = {}
        kept = reader_study.kept_in_browser()
        with gr.Tabs() as tab_bar:
            with gr.Tab("Explore", id="explore") as listeners["Explore"]:
                tabs["Explore"] = explore.build(registry, picker)
            with gr.Tab("Compare", id="compare") as listeners["Compare"]:
                tabs["Compare"] = compare.build(registry, selection)
            with gr.Tab("Test set", id="test-set") as listeners["Test set"]:
                tabs["Test set"] = test_set.build(registry, selection)
            with gr.Tab("Reader study", id="reader-study") as listeners["Reader study"]:
                tabs["Reader study"] = reader_study.build(registry, picker, kept)
            with gr.Tab("Data", id="data") as listeners["Data"]:
                tabs["Data"], downloaded = data.build(registry, selection)
            with gr.Tab("Bulk", id="bulk"):
                bulk.build(registry, selection)
            with gr.Tab("About", id="about") as listeners["About"]:
                tabs["About"] = about.build(registry, selection)
        redraw = _follow_selection(demo, picker, tab_bar, tabs, listeners, copy_link, kept)
        _open_test_images(tab_bar, tabs["Explore"], tabs["Test set"], redraw["Explore"])
        reader_study.connect_tabs(demo, tab_bar, tabs["Reader study"], redraw)
        examples = tabs["Explore"]
        downloaded(examples.draw_examples, picker.inputs, examples.examples, **NO_SPINNER)
    setup.protect(demo)
    return demo


def _build_header() -> gr.Button:
    """Lay out the title, the disclaimer, "Copy link", and the switch between light and dark."""
    with gr.Row(elem_id="top"):
        gr.HTML(html.render("title.html"), elem_id="title")
        gr.HTML(html.render("badge.html"), elem_id="badge")
        copy_link = gr.Button("Copy link", size="sm", min_width=120, scale=0, elem_id="copy-link")
        switch = gr.Button("◐", size="sm", min_width=44, scale=0, elem_id="switch")
        tooltips()
        introduction()
    switch.click(None, js=theme.SWITCH_THEME, **PRIVATE)
    return copy_link


def _follow_selection(
    demo: gr.Blocks,
    picker: Pickers,
    tab_bar: gr.Tabs,
    tabs: dict[str, Any],
    listeners: dict[str, gr.Tab],
    copy_link: gr.Button,
    kept: gr.BrowserState,
) -> dict[str, gr.State]:
    """Update the selection from the link and the pickers, and the open tab from the selection.

    Args:
        kept: the reader study that the browser keeps; an unfinished one is opened where there is no link.

    Returns:
        label of a tab -> its redraw counter: a tab is updated when it is opened and when its counter changes.
    """
    open_tab = gr.State("Explore")
    redraw = {label: gr.State(0) for label in tabs}
    explore_tab: Explore = tabs["Explore"]
    links = Links(picker, tab_bar, open_tab, explore_tab.heatmap.method, explore_tab.linked_map)
    links.connect(copy_link)

    def remember(event: gr.SelectData) -> str:
        return event.value if event.value in links.tabs.values() else "Explore"

    @show_user_errors
    def choose(values: Values, request: gr.Request) -> Values:
        is_new = values[picker.selection] is None
        study = tabs["Reader study"].link(values) if is_new else None
        changes = links.open(values, request, study) if is_new else picker.update(values)
        counter = redraw.get(str(changes.get(open_tab, values[open_tab])))
        return changes | ({counter: values[counter] + 1} if counter else {})

    # `multiple`: by default a tab that is opened while the last one is remembered would be forgotten.
    tab_bar.select(remember, None, open_tab, queue=False, trigger_mode="multiple", **NO_SPINNER)
    # One listener for all: a choice made while it runs is processed next, never dropped or overtaken. It
    # listens to `select`, as the `input` of a dropdown comes twice. It goes through the queue, as only there
    # a page learns that a state has changed.
    gr.on(
        [demo.load, picker.subset.select, picker.model.select],
        choose,
        {*picker.inputs, open_tab, kept, *redraw.values()},
        {*links.outputs, *redraw.values()},
        trigger_mode="always_last",
        **NO_SPINNER,
    )
    for label, tab in tabs.items():
        # One listener again: two would send what the page held before the first was answered.
        gr.on(
            [listeners[label].select, redraw[label].change],
            _unless_loading(tab, picker.selection),
            {picker.selection} | tab.inputs,
            tab.outputs,
            trigger_mode="always_last",
            queue=label in ("Explore", "Compare", "Data"),  # the others only read the checkpoint
            show_progress_on=[picker.headline],
            concurrency_id="data" if label == "Data" else "model",
            **PRIVATE,
        )
    return redraw


def _unless_loading(tab: Any, selection: gr.State) -> Callable[[Values], Values]:
    """The update of a tab; it is skipped while the page is loaded and nothing is selected yet."""

    @show_user_errors
    def update(values: Values) -> Values:
        return gr.skip() if values[selection] is None else tab.update(values)

    return update


def _open_test_images(tab_bar: gr.Tabs, tab: Explore, test: TestSet, redraw: gr.State) -> None:
    """Open a clicked test image in Explore."""

    @show_user_errors
    def open_in_explore(values: Values, event: gr.EventData) -> Values:
        subset, _ = require_state(values[test.displayed])
        sample = tab.registry.test_sample(subset, int(event.index))
        return {tab_bar: gr.Tabs(selected="explore"), redraw: values[redraw] + 1} | tab.pick(values, sample)

    for listener in test.image_opened:
        inputs = {test.displayed, redraw} | tab.pickers.inputs
        listener(open_in_explore, inputs, {tab_bar, redraw} | tab.selected, **NO_SPINNER)


def launch_options(
    uploads: Path, policy: OriginPolicy | None = None, log: bool = False, metrics: Metrics | None = None
) -> dict[str, Any]:
    """Arguments of `launch`: the theme, and those of `server.setup.options`."""
    return dict(
        theme=theme.theme(),
        css_paths=theme.CSS,
        footer_links=["api"],
        **setup.options(uploads, policy, log, metrics),
    )
