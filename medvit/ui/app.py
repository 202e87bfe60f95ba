"""The interface: pickers on top, one tab a file below."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from medvit import limits
from medvit.inference.registry import Registry
from medvit.inference.service import answer
from medvit.ui import api, parts, theme
from medvit.ui.components.base import current
from medvit.ui.server import middleware
from medvit.ui.tabs import about, bulk, compare, data, explore, test_set

KEEP = (limits.RETENTION_SECONDS, limits.RETENTION_SECONDS)


def build(registry: Registry, ask: Callable[..., dict[str, Any]] | None = None) -> gr.Blocks:
    """The whole interface over the checkpoints of a store.

    Args:
        ask: answers the questions of the API, such as `Worker.ask`; by default this process does.
    """
    subsets = registry.subset_choices()
    first = subsets[0][1]
    models = registry.model_choices(first)
    start = next((name for _, name in models if name == "spt_lsa"), models[0][1])
    with gr.Blocks(title="medvit", analytics_enabled=False, delete_cache=KEEP) as demo:
        with gr.Row(elem_id="top"):
            gr.HTML(
                "<h1>medvit</h1><p>How Vision Transformers read small biomedical images</p>", elem_id="title"
            )
            gr.HTML(f"<span>{parts.DISCLAIMER.rstrip('.')}</span>", elem_id="badge")
            switch = gr.Button("◐", size="sm", min_width=44, scale=0, elem_id="switch")
        with gr.Row(equal_height=True, elem_id="pickers"):
            subset = gr.Dropdown(subsets, value=first, label="Subset", scale=2, min_width=150)
            model = current(gr.Dropdown)(models, value=start, label="Model", scale=2, min_width=150)
            headline = gr.HTML(elem_id="headline", min_height=40)
        picked = gr.State()  # what is shown; the pickers run ahead of it while it is drawn
        with gr.Tabs() as tabs:
            with gr.Tab("Explore", id="explore") as explore_tab:
                tab = explore.build(registry, picked)
            with gr.Tab("Compare") as compare_tab:
                fill_compare, compared_map, compared = compare.build(registry)
            with gr.Tab("Test set") as test_tab:
                test = test_set.build(registry, picked)
            with gr.Tab("Data") as data_tab:
                fetched = data.build(registry, subset, data_tab)
            with gr.Tab("Batch"):
                bulk.build(registry, subset, model)
            with gr.Tab("About") as about_tab:
                fill_about, about_outputs = about.build(registry)
        api.build(registry, ask or partial(answer, registry))

        # A tab is drawn while it is open: `choose` counts up what the open one listens to.
        open_tab = gr.State("Explore")
        turns = {tab.label: gr.State(0) for tab in (explore_tab, compare_tab, test_tab, about_tab)}

        def remember(event: gr.SelectData):
            return event.value

        private: dict[str, Any] = dict(
            api_visibility="private", show_progress_on=[headline], concurrency_id="model"
        )
        hidden: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
        tabs.select(remember, None, open_tab, queue=False, **hidden)

        # One listener to all: what is picked while it runs is drawn next, never dropped or overtaken.
        # It listens to `select`, as a dropdown's `input` comes twice.
        @parts.show_user_errors
        def choose(subset, model, case, open_tab, *counts):
            picker = gr.skip()
            if case is None or case.subset != subset:
                choices = registry.model_choices(subset)
                model = model if registry.has(subset, model) else choices[0][1]
                picker, case = gr.Dropdown(choices, value=model), registry.examples(subset)[0]
            counts = [count + (label == open_tab) for label, count in zip(turns, counts, strict=True)]
            headline = parts.headline(registry.checkpoint(subset, model))
            return [picker, headline, case, *counts, (subset, model)]

        gr.on(
            [demo.load, subset.select, model.select],
            choose,
            [subset, model, tab.case, open_tab, *turns.values()],
            # One state after the other is set, and others may read between: what is picked comes last.
            [model, headline, tab.case, *turns.values(), picked],
            trigger_mode="always_last",
            **hidden,  # through the queue: a page learns only from there that a state has changed
        )
        comparing = [picked, tab.case, compared_map]
        for shown, fill, inputs, outputs, asks_models in (
            (explore_tab, tab.fill, tab.inputs, tab.outputs, True),
            (compare_tab, fill_compare, comparing, [compared], True),
            (test_tab, test.fill, test.inputs, test.outputs, False),
            (about_tab, fill_about, [picked], about_outputs, False),
        ):
            # One listener again: two would send what the page held before the first had answered.
            gr.on(
                [shown.select, turns[shown.label].change],
                fill,
                inputs,
                outputs,
                trigger_mode="always_last",
                queue=asks_models,
                **private,
            )
        compared_map.input(fill_compare, comparing, compared, **private | {"show_progress_on": compared})

        explored = turns[explore_tab.label]

        @parts.show_user_errors
        def open_in_explore(shown, count, event: gr.EventData):
            subset, _ = parts.require_state(shown)
            return (
                gr.Tabs(selected="explore"),
                *tab.open(registry.test_sample(subset, int(event.index))),
                count + 1,
            )

        for opened in test.opened:
            opened(open_in_explore, [test.shown, explored], [tabs, *tab.table, explored], **hidden)
        fetched.then(tab.draw_examples, picked, tab.strip, **hidden)
        switch.click(None, js=theme.SWITCH_THEME, api_visibility="private")
    middleware.open_uploads_only(demo)
    demo.queue(
        max_size=limits.QUEUE, default_concurrency_limit=limits.CONCURRENCY, api_open=False, status_update_rate=5
    )
    middleware.bound_unread(demo)
    return demo


def launch_options(uploads: Path, log: bool = False) -> dict[str, Any]:
    """Arguments of `launch` that belong to the look, to privacy and to safety.

    Args:
        uploads: the folder that `$GRADIO_TEMP_DIR` names; it is kept swept.
        log: one JSON line a request on stderr.
    """
    return dict(
        theme=theme.theme(),
        css_paths=theme.CSS,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={
            "middleware": [Middleware(middleware.LimitsMiddleware, log=log)],
            "lifespan": middleware.cleanup_lifespan(uploads),
        },
        max_file_size=limits.BULK_BYTES,  # a zip; `images.open_image` takes less
        max_threads=limits.THREADS,
        state_session_capacity=limits.SESSIONS,
    )
