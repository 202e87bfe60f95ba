"""Where a model looks, what moved its answer, and whether a map can be believed.

One method a file. Each is a function of an `Explainer`, of what it has `Seen` and of a `Choice`, and gives
one value a patch.

    explainer = medvit.explain.load("google/vit-base-patch16-224")
    seen = explainer("cat.png")
    values = medvit.explain.heatmap(explainer, seen, "relevance")
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvit import imaging
from medvit.errors import MedvitError
from medvit.explain.attention import attention
from medvit.explain.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
from medvit.explain.explainer import Explainer, ForwardPass, MapOptions
from medvit.explain.occlusion import occlusion
from medvit.explain.relevance import relevance
from medvit.explain.rollout import gradient_rollout, rollout
from medvit.slow_imports import transformers


@dataclass(frozen=True)
class Method:
    """A kind of map. `by_class`: it is of one class. `signed`: it may be negative, against the class."""

    title: str
    about: str
    draw: Callable[[Explainer, ForwardPass, MapOptions], Tensor]
    needs_attention: bool = True
    by_class: bool = True
    signed: bool = False


METHODS = {
    "attention": Method(
        "Attention", "What the class token, or a patch, attends to in one layer.", attention, by_class=False
    ),
    "rollout": Method(
        "Rollout",
        "Attention followed through all layers (Abnar and Zuidema, 2020).",
        rollout,
        by_class=False,
    ),
    "gradient_rollout": Method(
        "Gradient rollout",
        "Rollout in which attention counts as much as it raises the chosen class.",
        gradient_rollout,
    ),
    "relevance": Method(
        "Relevance", "Attention times gradient, through all layers (Chefer et al., 2021).", relevance
    ),
    "grad_cam": Method(
        "Grad-CAM", "What raises the chosen class (Selvaraju et al., 2017).", grad_cam, needs_attention=False
    ),
    "grad_cam_plus_plus": Method(
        "Grad-CAM++",
        "Grad-CAM that favours what is seen in several places (Chattopadhay et al., 2018).",
        grad_cam_plus_plus,
        needs_attention=False,
    ),
    "hires_cam": Method(
        "HiResCAM",
        "Each place by its own gradient (Draelos and Carin, 2020).",
        hires_cam,
        needs_attention=False,
    ),
    "layer_cam": Method(
        "LayerCAM",
        "Each place by the positive part of its own gradient (Jiang et al., 2021).",
        layer_cam,
        needs_attention=False,
    ),
    "occlusion": Method(
        "Occlusion",
        "The probability that the chosen class loses when a patch is blurred (Zeiler and Fergus, 2014).",
        occlusion,
        needs_attention=False,
        signed=True,
    ),
}


def methods_for(explainer: Explainer) -> tuple[str, ...]:
    """The maps that make sense for a model."""
    return tuple(name for name, one in METHODS.items() if explainer.has_attention or not one.needs_attention)


def heatmap(
    explainer: Explainer, seen: ForwardPass, method: str, choice: MapOptions | None = None
) -> np.ndarray:
    """One map by any method; kept in `seen`, so that asking again costs nothing.

    Args:
        seen: the image, as `explainer` saw it.
        choice: class, layer, head, ...; by default the class on top, the last layer, all heads.

    Returns:
        float32 (gh, gw) in the method's own unit, not scaled; see `scale`.

    Raises:
        MedvitError: unknown method, one that the model cannot give, or a choice that is out of range.
    """
    if method not in METHODS:
        raise MedvitError(f"There is no map {method!r}. The maps are: {', '.join(METHODS)}.")
    if METHODS[method].needs_attention and not explainer.has_attention:
        raise MedvitError(
            f"{METHODS[method].title} needs a model with attention, and this one has none. It can give: "
            f"{', '.join(methods_for(explainer))}."
        )
    choice = choice or MapOptions(int(seen.logits.argmax()))
    if not 0 <= choice.target < len(seen.logits):
        raise MedvitError(f"There is no class {choice.target}; the model has {len(seen.logits)}.")
    if choice.fusion not in ("mean", "max", "min") or not 0 <= choice.discard < 1:
        raise MedvitError("Heads are fused by mean, max or min, and the share to discard is 0 to below 1.")
    key = method, choice
    if key not in seen.maps:
        seen.maps[key] = METHODS[method].draw(explainer, seen, choice)
    return seen.maps[key].float().numpy()


def scale(values: np.ndarray, signed: bool = False) -> np.ndarray:
    """Scale a map for showing: to 0..1, or where signed to -1..1 with zero kept; a constant map to zeros."""
    if signed:
        most = np.abs(values).max()
        return values / most if most > 0 else np.zeros_like(values)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def load(source: str | Path) -> Explainer:
    """Explain any Hugging Face image classifier, by folder or hub id.

    Only safetensors are read, and no code that comes with a model is run.

    Raises:
        MedvitError: there is no such model, or it is no image classifier.
    """
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(f"The model {source} cannot be loaded: {str(error).splitlines()[0]}") from error

    def open_picture(picture: imaging.ImageInput) -> Tensor:
        shown = processor(imaging.open_image(picture), do_normalize=False, return_tensors="pt")
        return shown["pixel_values"] / processor.rescale_factor  # (1, 3, H, W) in 0..255

    normalise = imaging.Preprocessing(
        size=int(open_picture(np.zeros((32, 32, 3), np.uint8)).shape[-1]),
        mean=tuple(processor.image_mean if processor.do_normalize else (0, 0, 0)),
        std=tuple(processor.image_std if processor.do_normalize else (1, 1, 1)),
    )
    return Explainer(model, normalise, open_picture)


def describe(values: np.ndarray) -> str:
    """Say in words where the mass of a map (gh, gw) lies, for those who cannot see it."""
    values = np.clip(values, 0, None)
    total = float(values.sum())
    if total == 0 or np.ptp(values) == 0:
        return "The map is flat: no part stands out."
    rows, columns = np.indices(values.shape)
    y, x = (
        (axis * values).sum() / total / (side - 1)
        for axis, side in zip((rows, columns), values.shape, strict=True)
    )
    vertical = "upper" if y < 0.42 else "lower" if y > 0.58 else ""
    horizontal = "left" if x < 0.42 else "right" if x > 0.58 else ""
    place = " ".join(filter(None, (vertical, horizontal, "part"))) if vertical or horizontal else "centre"
    busiest = np.sort(values.ravel())[::-1].cumsum() / total
    share = (int((busiest < 0.5).sum()) + 1) / values.size
    return f"The weight of the map lies in the {place}; half of it falls on {share:.0%} of the image."
