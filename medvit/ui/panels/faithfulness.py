"""Can this map be believed? What was measured over test images, and a test on this very image."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from medvit import explain, plots
from medvit.checkpoint import Checkpoint
from medvit.explain.faithfulness import HARDLY_CHANGED, curves
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.ui import parts
from medvit.ui.panels import heatmap


def build(registry: Registry, seen: gr.State, settings: list, moved: list) -> tuple[Callable, list]:
    """Lay out the panel; return `fill(prediction, method)` and its outputs.

    `settings` and `moved` as in `maps.Maps`.
    """
    gr.HTML("<div class='panel-title'>Can this map be believed?</div>")
    measured = gr.HTML(elem_id="measured")
    test = gr.Button("Test it on this image", size="sm", elem_id="test-map")
    plot = gr.Plot(show_label=False, container=False, visible=False)
    words = gr.HTML()

    @parts.show_user_errors
    def fill(prediction: Prediction, method):
        found = registry.checkpoint(parts.require_state(prediction).subset, prediction.model)
        known = method if method in explain.METHODS else None
        return verdict(found, known), gr.Plot(visible=False), ""

    @parts.show_user_errors
    def test_on_image(prediction: Prediction, method, *chosen, progress=gr.Progress()):  # noqa: B008
        progress(0.1, "Blurring patch by patch")
        wanted = heatmap.choice(parts.require_state(prediction), *chosen[:-1])
        predictor = registry.predictor(prediction.subset, prediction.model)
        values = predictor.heatmap(prediction, method, wanted)
        (found,) = curves(predictor.explainer, prediction.forward_pass, [values], wanted.target)
        areas = found.areas()
        better = areas["deletion"] < areas["random_deletion"]
        sentence = (
            f"Here, blurring what the map marks first leaves {areas['deletion']:.2f} of the probability on "
            f"average, a random order {areas['random_deletion']:.2f}: "
            f"{'the marked patches matter more than chance' if better else 'no better than chance'}."
        )
        return gr.Plot(plots.deletion_curves(found), visible=True), f"<p class='small'>{sentence}</p>"

    test.click(
        test_on_image,
        [seen, *settings],
        [plot, words],
        api_visibility="private",
        concurrency_id="model",
        show_progress_on=words,
    )
    quiet: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
    settings[0].change(fill, [seen, settings[0]], [measured, plot, words], **quiet)
    gr.on(moved, lambda: (gr.Plot(visible=False), ""), None, [plot, words], queue=False, **quiet)
    outputs: list[Any] = [measured, plot, words]
    return fill, outputs


def verdict(found: Checkpoint, method: str | None) -> str:
    """One paragraph of HTML on how a kind of map fared over test images, from card.json."""
    measured = found.card.get("explanations")
    if method is None or not measured or method not in measured["methods"]:
        return "<p class='small quiet'>Not measured for this model (scripts/faithfulness.py does).</p>"
    one, title = measured["methods"][method], explain.METHODS[method].title
    ranking = sorted(measured["methods"], key=lambda name: -measured["methods"][name]["gain"])
    sure = one["gain"] > 2 * one["gain_error"]
    mark = "<b class='right'>✓</b>" if sure else "<b class='wrong'>✗</b>"
    result = (
        f"{mark} Over {measured['images']} test images, {title} finds what moves this model "
        f"{'better than' if sure else 'not surely better than'} chance: {one['gain']:+.2f} "
        f"(± {2 * one['gain_error']:.2f}; 0 is chance). It ranks {ranking.index(method) + 1} of "
        f"{len(ranking)}; "
        f"best is {explain.METHODS[ranking[0]].title} ({measured['methods'][ranking[0]]['gain']:+.2f})."
    )
    if abs(one["shuffled"]) > HARDLY_CHANGED:
        result += (
            f" <b class='wrong'>⚠</b> With shuffled weights it stays much the same (rank correlation "
            f"{one['shuffled']:.2f}), so it shows the image or the architecture more than what was learned."
        )
    return f"<p class='small'>{result}</p>"
