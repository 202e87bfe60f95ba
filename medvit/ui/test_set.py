"""The Test set tab: what a checkpoint said on the official test split, from test.npz and card.json alone."""

from collections.abc import Callable

import gradio as gr

from medvit import figures
from medvit.evaluation.metrics import confusion, probabilities
from medvit.ui import parts, trust
from medvit.ui.store import Store

VIEWS = ["counts", "by row", "by column"]


def build(store: Store, subset: gr.Dropdown, model: gr.Dropdown) -> tuple[Callable, gr.Radio, list]:
    """Lay out the tab; return `fill(subset, model, view)`, the view's picker, and the outputs to fill."""
    tiles = gr.HTML(min_height=96)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            gr.HTML("<div class='panel-title'>Confusion matrix</div>")
            view = gr.Radio(VIEWS, value=VIEWS[0], show_label=False, container=False, elem_id="matrix-view")
            matrix = gr.HTML(min_height=320, elem_id="matrix")
        with gr.Column(scale=5, min_width=320):
            gr.HTML("<div class='panel-title'>ROC curves, each class against the rest</div>")
            roc = gr.Plot(show_label=False, container=False)
    gr.HTML("<div class='panel-title'>Each class</div>")
    classes = gr.HTML()
    fill_trust, trust_outputs = trust.build(store, subset, model)
    gr.HTML(f"<p class='quiet'>{parts.DISCLAIMER} Intervals are Wilson's, at 95 %.</p>")

    @parts.plain_errors
    def draw_matrix(subset, model, view):
        found = store.checkpoint(subset, model)
        if found.subset.multi_label:
            return "<p>An image of this subset can have several labels, so there is no confusion matrix.</p>"
        return parts.confusion_table(
            confusion(found.test_logits, found.test_labels), found.subset.classes, view
        )

    @parts.plain_errors
    def fill(subset, model, view):
        found = store.checkpoint(subset, model)
        scores = probabilities(found.test_logits, found.subset.multi_label)
        curves = figures.roc_curves(found.test_labels, scores, found.subset.classes)
        matrix = draw_matrix(subset, model, view)
        return [parts.figures(found), matrix, curves, parts.class_table(found), *fill_trust(subset, model)]

    view.input(
        draw_matrix,
        [subset, model, view],
        matrix,
        api_visibility="private",
        show_progress="hidden",
        queue=False,
    )
    return fill, view, [tiles, matrix, roc, classes, *trust_outputs]
