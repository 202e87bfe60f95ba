"""Where a model looks: one method a file, all giving one value a patch, (g, g) in 0..1."""

import numpy as np
import torch
from torch import Tensor, nn

from medvit.errors import MedvitError
from medvit.explain import attention, cam, rollout

METHODS = {"attention": "Attention", "rollout": "Rollout", "grad_cam": "Grad-CAM"}
ABOUT = {
    "attention": "What the class token attends to, in one layer. It does not depend on a class.",
    "rollout": "Attention followed through all layers (Abnar and Zuidema, 2020). It does not depend on a "
    "class.",
    "grad_cam": "What raises the score of the chosen class (Selvaraju et al., 2017).",
}


def has_attention(model: nn.Module) -> bool:
    """Whether the model returns `attentions`."""
    return getattr(model.config, "num_attention_heads", 0) > 0


def methods_for(model: nn.Module) -> tuple[str, ...]:
    """The methods that make sense for a model."""
    return tuple(METHODS) if has_attention(model) else ("grad_cam",)


def heatmap(
    model: nn.Module,
    pixel_values: Tensor,
    attentions: Tensor | None,
    method: str,
    layer: int = -1,
    head: int | None = None,
    target: int = 0,
) -> np.ndarray:
    """One map by any method.

    Args:
        pixel_values: one preprocessed image (1, 3, H, W).
        attentions: (layers, heads, T, T) of that image, class token first; None for a model without
            attention.
        layer, head: for "attention"; `head` None is the mean over heads. target: class index for "grad_cam".

    Returns:
        float32 (g, g), scaled so that the least patch is 0 and the most is 1.

    Raises:
        MedvitError: unknown method, one that the model cannot give, or layer or head out of range.
    """
    if method not in METHODS:
        raise MedvitError(f"There is no map {method!r}. The maps are: {', '.join(METHODS)}.")
    if method not in methods_for(model):
        raise MedvitError(
            f"{METHODS[method]} needs a model with attention, and this one has none. Use Grad-CAM."
        )
    if method == "grad_cam":
        return scale(cam.grad_cam(model, pixel_values, target)).numpy()
    assert attentions is not None, "a model with attention was asked for them"
    if method == "attention":
        values = attention.attention_map(attentions.float(), layer, head)
    else:
        values = rollout.rollout(attentions.float())
    return scale(values).numpy()


def scale(values: Tensor) -> Tensor:
    """Shift and scale a map to 0..1; a constant map becomes zeros."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


def describe(values: np.ndarray) -> str:
    """Say in words where the mass of a map (g, g) lies, for those who cannot see it."""
    total = float(values.sum())
    if total == 0:
        return "The map is flat: no part stands out."
    rows, columns = np.indices(values.shape)
    y, x = ((axis * values).sum() / total / (values.shape[0] - 1) for axis in (rows, columns))
    vertical = "upper" if y < 0.42 else "lower" if y > 0.58 else ""
    horizontal = "left" if x < 0.42 else "right" if x > 0.58 else ""
    place = " ".join(filter(None, (vertical, horizontal, "part"))) if vertical or horizontal else "centre"
    busiest = np.sort(values.ravel())[::-1].cumsum() / total
    share = (int((busiest < 0.5).sum()) + 1) / values.size
    return f"The weight of the map lies in the {place}; half of it falls on {share:.0%} of the image."
