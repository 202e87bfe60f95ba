"""Erase and ask again: paint over a region and see what becomes of the answer, and which map foresaw it."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
import torch
import torch.nn.functional as F
from gradio.components.image_editor import EditorDataBlobs
from torch import Tensor

from medvit import explain, imaging, plots
from medvit.errors import MedvitError
from medvit.explain.occlusion import blur
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.limits import MB
from medvit.ui import parts
from medvit.ui.components.base import variant

FILLINGS = {"blurred": "the image, blurred", "mean": "the mean colour around it"}
WAITING = 64  # canvases sent and not yet asked about
LARGEST = 2 * MB  # of one of them; what it shows fits into a quarter of that


def canvas(**options: Any) -> gr.ImageEditor:
    """A gr.ImageEditor that hands over nothing but the bytes of the painted picture, unopened.

    Gradio's own keeps whatever any client sends, in any number, and opens it as any of Pillow's formats.
    """
    waiting: OrderedDict[str, EditorDataBlobs] = OrderedDict()

    def accept(_, data) -> None:
        content = data.files[0][1]
        if data.data["type"] == "composite" and len(content) <= LARGEST:
            name = str(data.data["id"])[:64]
            waiting[name] = EditorDataBlobs(background=None, layers=[], composite=content)
            while len(waiting) > WAITING:
                waiting.popitem(last=False)

    accept._is_server_fn = True  # type: ignore[attr-defined]

    def read(_, payload) -> bytes | str | None:
        sent = waiting.pop(payload.id, None) if payload and payload.id else None
        if sent:
            return sent.composite
        return payload.composite.path if payload and payload.composite else None

    editor = variant(gr.ImageEditor, accept_blobs=accept, preprocess=read)
    return editor(sources=(), transforms=(), layers=False, format="png", **options)


def build(registry: Registry, seen: gr.State) -> tuple[Callable, list]:
    """Lay out the panel; return `fill(prediction)` and its outputs."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            editor = canvas(
                show_label=False,
                height=400,
                canvas_size=(plots.SIDE, plots.SIDE),
                fixed_canvas=True,
                brush=gr.Brush(default_size=36, colors=["#ff00ff"], color_mode="fixed"),
                buttons=[],
                elem_id="canvas",
            )
        with gr.Column(scale=5, min_width=300):
            gr.HTML("<p class='quiet'>Paint over what you think matters, then ask the model again.</p>")
            filling = gr.Radio(
                [(text, name) for name, text in FILLINGS.items()],
                value="blurred",
                label="What takes its place",
            )
            again = gr.Button("Ask again", variant="primary", elem_id="ask-again")
            result = gr.HTML(min_height=200, elem_id="erased")

    def fill(prediction: Prediction):
        return plots.enlarge(prediction.source), ""

    @parts.show_user_errors
    def predict_masked(prediction: Prediction, painted, filling):
        if prediction is None or painted is None:
            raise MedvitError(
                "There is nothing painted yet. Put an image on the table, paint, and ask again."
            )
        erased = brush_mask(prediction.source, imaging.open_image(painted))
        if not erased.any():
            raise MedvitError("Nothing is painted over. Paint a region of the image first.")
        predictor = registry.predictor(prediction.subset, prediction.model)
        changed = fill_in(prediction.forward_pass.pixels, erased, filling)
        picture = changed[0].permute(1, 2, 0).round().byte().numpy()
        after = predictor.predict(picture, tta=prediction.agreement is not None).display_probs
        attribution_mass = _attribution_mass(predictor, prediction, erased)
        return parts.thumbnail(picture, "the image without it") + _table(
            prediction, after, erased, attribution_mass
        )

    again.click(
        predict_masked, [seen, editor, filling], result, api_visibility="private", concurrency_id="model"
    )
    return fill, [editor, result]


def brush_mask(source: np.ndarray, painted) -> Tensor:
    """The source pixels of which more than half is covered, bool (s, s); the brush is magenta."""
    side = source.shape[0]
    shown = np.asarray(painted.resize((plots.SIDE, plots.SIDE)), np.int16)
    original = np.asarray(plots.enlarge(source).resize((plots.SIDE, plots.SIDE)), np.int16)
    differs = torch.from_numpy((np.abs(shown - original).max(-1) > 24).astype(np.float32))
    return F.interpolate(differs[None, None], (side, side), mode="area")[0, 0] > 0.5


def fill_in(pixels: Tensor, erased: Tensor, filling: str) -> Tensor:
    """Pixels (1, 3, s, s), the `erased` part (s, s) "blurred", or the "mean" of what is near."""
    pixels = pixels.float()
    if filling == "mean":
        near = F.max_pool2d(erased[None, None].float(), 5, stride=1, padding=2)[0, 0] > 0
        ring = near & ~erased
        around = ring if ring.any() else ~erased if (~erased).any() else erased
        filled = pixels[..., around].mean(-1)[..., None, None].expand_as(pixels)
    else:
        filled = blur(pixels)
    return torch.where(erased, filled, pixels)


def _attribution_mass(predictor, prediction: Prediction, erased: Tensor) -> list[tuple[str, float]]:
    """For each kind of map, the share of its mass (what speaks for the class) in the erased part."""
    probs = []
    for name in predictor.methods():
        values = torch.from_numpy(predictor.heatmap(prediction, name)).clamp(min=0)
        spread = F.interpolate(values[None, None], erased.shape, mode="bilinear")[0, 0]
        share = float(spread[erased].sum() / spread.sum()) if spread.sum() > 0 else 0.0
        probs.append((explain.METHODS[name].title, share))
    return sorted(probs, key=lambda pair: -pair[1])


def _table(prediction: Prediction, after: np.ndarray, erased: Tensor, attribution_mass) -> str:
    before, area = prediction.display_probs, float(erased.float().mean())
    order = np.argsort(-np.maximum(before, after))[:4]
    rows = "".join(
        f"<tr><th scope='row'>{parts.class_name_html(prediction.classes[i])}</th>"
        f"<td>{before[i]:.1%}</td><td>{after[i]:.1%}</td><td>{after[i] - before[i]:+.1%}</td></tr>"
        for i in order
    )
    now = parts.class_name_html(prediction.classes[int(after.argmax())])
    verdict = "The model still says" if after.argmax() == prediction.top else "Now the model says"
    maps = "".join(
        f"<tr><th scope='row'>{name}</th><td>{share:.0%}</td><td>{share / area:.1f} ×</td></tr>"
        for name, share in attribution_mass
    )
    return (
        f"<p role='status'>{verdict} <b>{now}</b>, with {area:.0%} of the image erased.</p>"
        "<table class='plain'><thead><tr><td></td><th scope='col'>before</th><th scope='col'>after</th>"
        f"<th scope='col'>change</th></tr></thead><tbody>{rows}</tbody></table>"
        "<p class='small'>What each map foresaw: the share of its mass in the erased part, and how many "
        "times the share of the area that is. Above 1 × it expected a loss.</p>"
        "<table class='plain'><thead><tr><td></td><th scope='col'>mass there</th><th scope='col'>to area</th>"
        f"</tr></thead><tbody>{maps}</tbody></table>"
    )
