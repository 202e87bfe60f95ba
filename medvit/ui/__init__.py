"""The interface: pickers on top, one tab a file below."""

import gradio as gr

from medvit.ui import about, api, explore, look, parts, test_set
from medvit.ui.store import Store


def build(store: Store) -> gr.Blocks:
    """The whole interface over the checkpoints of a store."""
    subsets = store.subset_choices()
    first = subsets[0][1]
    models = store.model_choices(first)
    start = next((name for _, name in models if name == "spt_lsa"), models[0][1])
    with gr.Blocks(title="medvit", analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
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
        with gr.Tabs():
            with gr.Tab("Explore"):
                opened, asked = explore.build(store, subset, model)
            with gr.Tab("Test set"):
                filled = test_set.build(store, subset, model)
            with gr.Tab("About"):
                told = about.build(store, subset, model)
        api.build(store)

        @parts.plain_errors
        def choose_subset(subset, model):
            choices = store.model_choices(subset)
            kept = model if model in dict(choices).values() else choices[0][1]
            return gr.Dropdown(choices, value=kept), parts.headline(store.checkpoint(subset, kept))

        @parts.plain_errors
        def choose_model(subset, model):
            return parts.headline(store.checkpoint(subset, model))

        private = dict(api_visibility="private", show_progress="hidden")
        for event in (demo.load, subset.input):
            chosen = event(choose_subset, [subset, model], [model, headline], **private)
            chosen.then(**opened).then(**asked)
            chosen.then(**filled)
            chosen.then(**told)
        chosen = model.input(choose_model, [subset, model], headline, **private)
        chosen.then(**asked)
        chosen.then(**filled)
        chosen.then(**told)
        switch.click(None, js=look.SWITCH_THEME, api_visibility="private")
    return demo


def launch_options() -> dict:
    """Arguments of `launch` that belong to the look and to privacy."""
    return dict(
        theme=look.theme(),
        css_paths=look.CSS,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size=f"{parts.MAX_BYTES >> 20}mb",
    )
