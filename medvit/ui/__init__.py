"""The interface: pickers on top, one tab a file below."""

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from medvit import limits
from medvit.ui import about, api, batch, compare, data, explore, guard, look, parts, test_set
from medvit.ui.store import Store

KEEP = (limits.KEEP_SECONDS, limits.KEEP_SECONDS)


def build(store: Store) -> gr.Blocks:
    """The whole interface over the checkpoints of a store."""
    subsets = store.subset_choices()
    first = subsets[0][1]
    models = store.model_choices(first)
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
            model = gr.Dropdown(models, value=start, label="Model", scale=2, min_width=150)
            headline = gr.HTML(elem_id="headline", min_height=40)
        picked = gr.State()  # what is shown; the pickers run ahead of it while it is drawn
        with gr.Tabs() as tabs:
            with gr.Tab("Explore", id="explore"):
                tab = explore.build(store, subset, model)
            with gr.Tab("Compare") as compare_tab:
                fill_compare, compared_map, compared = compare.build(store)
            with gr.Tab("Test set") as test_tab:
                test = test_set.build(store, picked)
            with gr.Tab("Data") as data_tab:
                fetched = data.build(store, subset, data_tab)
            with gr.Tab("Batch"):
                batch.build(store, subset, model)
            with gr.Tab("About") as about_tab:
                fill_about, about_outputs = about.build(store)
        api.build(store)

        # One listener to all: what is picked while it runs is drawn next, never dropped or overtaken.
        # It listens to `select`, as a dropdown's `input` comes twice.
        @parts.plain_errors
        def choose(picked, subset, model, case, *settings):
            kept, picker, table = model, gr.skip(), [gr.skip()] * len(tab.table)
            if case is None or not subset == picked[0] == case.subset:
                choices = store.model_choices(subset)
                kept = model if store.has(subset, model) else choices[0][1]
                picker, table = gr.Dropdown(choices, value=kept), tab.open_subset(subset)
                case = table[0]
            headline = parts.headline(store.checkpoint(subset, kept))
            return [(subset, kept), picker, headline, *table, *tab.ask(subset, kept, case, *settings)]

        private: dict[str, Any] = dict(
            api_visibility="private", show_progress_on=[headline], concurrency_id="model"
        )
        chosen = gr.on(
            [demo.load, subset.select, model.select],
            choose,
            [picked, subset, model, tab.case, *tab.settings],
            [picked, model, headline, *tab.table, *tab.answer],
            trigger_mode="always_last",
            **private,
        )

        # The other tabs are drawn while they are open.
        open_tab = gr.State()

        def remember(event: gr.SelectData):
            return event.value

        tabs.select(remember, None, open_tab, api_visibility="private", show_progress="hidden", queue=False)
        comparing = [picked, tab.case, compared_map]
        for shown, fill, inputs, outputs, asks_models in (
            (compare_tab, fill_compare, comparing, [compared], True),
            (test_tab, test.fill, test.inputs, test.outputs, False),
            (about_tab, fill_about, [picked], about_outputs, False),
        ):

            def fill_if_open(open_tab, *values, fill=fill, shown=shown):
                return fill(*values) if open_tab == shown.label else gr.skip()

            shown.select(fill, inputs, outputs, queue=asks_models, **private)
            chosen.success(fill_if_open, [open_tab, *inputs], outputs, queue=asks_models, **private)
        compared_map.input(fill_compare, comparing, compared, **private | {"show_progress_on": compared})

        @parts.plain_errors
        def open_in_explore(shown, event: gr.EventData):
            subset, _ = parts.still(shown)
            return gr.Tabs(selected="explore"), store.test_case(subset, int(event.index)), None

        for opened in test.opened:
            opened(
                open_in_explore,
                test.shown,
                [tabs, *tab.table[:2]],
                api_visibility="private",
                show_progress="hidden",
            ).success(
                tab.ask,
                [subset, model, tab.case, *tab.settings],
                tab.answer,
                trigger_mode="always_last",
                **private,
            )
        fetched.then(
            tab.draw_examples, subset, tab.table[2:], api_visibility="private", show_progress="hidden"
        )
        switch.click(None, js=look.SWITCH_THEME, api_visibility="private")
    guard.open_uploads_only(demo)
    return demo.queue(
        max_size=limits.QUEUE, default_concurrency_limit=limits.AT_ONCE, api_open=False, status_update_rate=5
    )


def launch_options(uploads: Path, log: bool = False) -> dict[str, Any]:
    """Arguments of `launch` that belong to the look, to privacy and to safety.

    Args:
        uploads: the folder that `$GRADIO_TEMP_DIR` names; it is kept swept.
        log: one JSON line a request on stderr.
    """
    return dict(
        theme=look.theme(),
        css_paths=look.CSS,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={"middleware": [Middleware(guard.Guard, log=log)], "lifespan": guard.swept(uploads)},
        max_file_size=limits.BATCH_BYTES,  # a zip; `images.open_image` takes less
        max_threads=limits.THREADS,
        state_session_capacity=limits.SESSIONS,
    )
