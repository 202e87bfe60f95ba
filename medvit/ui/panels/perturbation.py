"""Perturbation test: paint over a region, predict without it, and see which map marked it."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
import torch
import torch.nn.functional as F
from gradio.components.image_editor import EditorDataBlobs
from PIL import Image, ImageOps
from torch import Tensor

from medvit import explain, imaging, plots
from medvit.errors import MedvitError
from medvit.explain.occlusion import blur
from medvit.inference.predictor import Prediction, Predictor
from medvit.inference.registry import Registry
from medvit.limits import MB
from medvit.ui import html
from medvit.ui.components.base import variant
from medvit.ui.state import AT_ONCE, PRIVATE, STATE_SECONDS, Values, connect, show_user_errors

FILLINGS = {"blurred": "the image, blurred", "mean": "the mean colour around it"}
BRUSH = "#ff00ff"
MAX_WAITING = 64  # canvases received whose prediction has not been requested yet
MAX_BYTES = 2 * MB  # of one canvas; its picture needs a quarter of that


def canvas(**options: Any) -> gr.ImageEditor:
    """A gr.ImageEditor whose value is the bytes of the painted picture, unopened.

    Gradio's own keeps everything that any client sends, in any number, and opens it as any format of Pillow.
    """
    waiting: OrderedDict[str, EditorDataBlobs] = OrderedDict()

    def accept(_, data) -> None:
        content = data.files[0][1]
        if data.data["type"] == "composite" and len(content) <= MAX_BYTES:
            name = str(data.data["id"])[:64]
            waiting[name] = EditorDataBlobs(background=None, layers=[], composite=content)
            while len(waiting) > MAX_WAITING:
                waiting.popitem(last=False)

    accept._is_server_fn = True  # type: ignore[attr-defined]

    def read(_, payload) -> bytes | str | None:
        blobs = waiting.pop(payload.id, None) if payload and payload.id else None
        if blobs:
            return blobs.composite
        return payload.composite.path if payload and payload.composite else None

    editor = variant(gr.ImageEditor, accept_blobs=accept, preprocess=read)
    return editor(sources=(), transforms=(), layers=False, format="png", **options)


@dataclass(frozen=True, eq=False)
class PerturbationPanel:
    """The canvas, what replaces the painted region, and the prediction without it."""

    registry: Registry
    answer: gr.State
    editor: gr.ImageEditor
    filling: gr.Radio
    predict: gr.Button
    result: gr.HTML
    masked: gr.State  # the answer that `result` is about

    @property
    def outputs(self) -> set:
        """What `update` sets."""
        return {self.editor, self.result}

    def update(self, prediction: Prediction) -> Values:
        """The unpainted image."""
        return {self.editor: plots.enlarge(prediction.source), self.result: ""}

    @show_user_errors
    def predict_masked(self, values: Values) -> Values:
        """The prediction without the painted region."""
        answer, painted = values[self.answer], values[self.editor]
        if answer is None or painted is None:
            raise MedvitError(
                "Nothing is painted yet. Pick an image, paint over a region, and predict again."
            )
        prediction = answer.prediction
        mask = brush_mask(prediction.source, imaging.open_image(painted))
        if not mask.any():
            raise MedvitError("Nothing is painted yet. Paint over a region of the image first.")
        predictor = self.registry.predictor(prediction.subset, prediction.model)
        filled = fill_in(prediction.forward_pass.pixels, mask, values[self.filling])
        picture = filled[0].permute(1, 2, 0).round().byte().numpy()
        masked = predictor.predict(picture, tta=prediction.agreement is not None)
        result = render(prediction, masked, mask, attribution_mass(predictor, prediction, mask))
        return {self.result: result, self.masked: answer}

    def discard(self, values: Values) -> Values:
        """Clear the result where another image was chosen while it was computed."""
        return gr.skip() if values[self.masked] is values[self.answer] else {self.result: ""}


def build(registry: Registry, answer: gr.State) -> PerturbationPanel:
    """Lay out the panel; `answer` holds the `Answer` that is displayed."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            editor = canvas(
                show_label=False,
                height=400,
                canvas_size=(plots.DISPLAY_SIDE, plots.DISPLAY_SIDE),
                fixed_canvas=True,
                brush=gr.Brush(default_size=36, colors=[BRUSH], color_mode="fixed"),
                buttons=[],
                elem_id="canvas",
            )
        with gr.Column(scale=5, min_width=300):
            gr.HTML(html.note("Paint over a region that you think matters, then predict without it."))
            choices = [(text, name) for name, text in FILLINGS.items()]
            filling = gr.Radio(choices, value="blurred", label="Replace the region by")
            predict = gr.Button("Predict without it", variant="primary", elem_id="predict-masked")
            result = gr.HTML(min_height=200, elem_id="masked")
    masked = gr.State(time_to_live=STATE_SECONDS)
    panel = PerturbationPanel(registry, answer, editor, filling, predict, result, masked)
    inputs, outputs = {answer, editor, filling}, {result, masked}
    options = {"concurrency_id": "model", "show_progress_on": result} | PRIVATE
    finished = connect(predict.click, panel.predict_masked, inputs, outputs, **options)
    connect(finished.then, panel.discard, {answer, masked}, {result}, **AT_ONCE)
    return panel


def brush_mask(source: np.ndarray, painted: Image.Image) -> Tensor:
    """The pixels of a source (h, w, 3) of which more than half is painted over, bool (h, w)."""
    displayed = plots.enlarge(source)
    within = ImageOps.fit(painted, displayed.size)  # the canvas is square and has the picture in its middle
    after, before = (np.asarray(picture, np.int16) for picture in (within, displayed))
    differs = torch.from_numpy((np.abs(after - before).max(-1) > 24).astype(np.float32))
    return F.interpolate(differs[None, None], source.shape[:2], mode="area")[0, 0] > 0.5


def fill_in(pixels: Tensor, mask: Tensor, filling: str) -> Tensor:
    """Pixels (1, 3, h, w), those under the mask (h, w) "blurred" or replaced by the "mean" around them."""
    pixels = pixels.float()
    if filling == "mean":
        dilated = F.max_pool2d(mask[None, None].float(), 5, stride=1, padding=2)[0, 0] > 0
        ring = dilated & ~mask
        around = ring if ring.any() else ~mask if (~mask).any() else mask
        replacement = pixels[..., around].mean(-1)[..., None, None].expand_as(pixels)
    else:
        replacement = blur(pixels)
    return torch.where(mask, replacement, pixels)


def attribution_mass(predictor: Predictor, prediction: Prediction, mask: Tensor) -> list[tuple[str, float]]:
    """(title, fraction of the positive mass of the map under the mask) of each kind of map, largest first."""
    fractions = []
    for name in predictor.methods():
        heatmap = torch.from_numpy(predictor.heatmap(prediction, name)).clamp(min=0)
        heatmap = F.interpolate(heatmap[None, None], mask.shape, mode="bilinear")[0, 0]
        total = float(heatmap.sum())
        fractions.append(
            (explain.METHODS[name].title, float(heatmap[mask].sum()) / total if total > 0 else 0.0)
        )
    return sorted(fractions, key=lambda pair: -pair[1])


def render(prediction: Prediction, masked: Prediction, mask: Tensor, masses: list[tuple[str, float]]) -> str:
    """The prediction before and after as HTML, and the attribution mass of each map under the mask."""
    before, after = prediction.display_probs, masked.display_probs
    area = float(mask.float().mean())
    order = np.argsort(-np.maximum(before, after))[:4]
    probs = [
        (
            html.class_name(prediction.classes[i]),
            f"{before[i]:.1%}",
            f"{after[i]:.1%}",
            f"{after[i] - before[i]:+.1%}",
        )
        for i in order
    ]
    return html.render(
        "perturbation.html",
        picture=masked.source,
        label=masked.label,
        same=masked.label == prediction.label,
        area=area,
        probs=probs,
        masses=[(title, f"{mass:.0%}", f"{mass / area:.1f} ×") for title, mass in masses],
    )
