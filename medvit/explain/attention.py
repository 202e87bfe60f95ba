"""Raw attention of one layer: how much the class token takes from each patch."""

from torch import Tensor

from medvit.errors import MedvitError


def attention_map(attentions: Tensor, layer: int = -1, head: int | None = None) -> Tensor:
    """Attention from the class token to the patches.

    Args:
        attentions: (layers, heads, T, T), class token first.
        layer: index, negative from the end. head: index, or None for the mean over heads.

    Returns:
        (g, g)

    Raises:
        MedvitError: there is no such layer or head.
    """
    layers, heads = attentions.shape[:2]
    if not -layers <= layer < layers:
        raise MedvitError(f"There is no layer {layer}; the model has {layers}.")
    if head is not None and not 0 <= head < heads:
        raise MedvitError(f"There is no head {head}; the model has {heads}.")
    rows = attentions[layer, :, 0, 1:]  # (heads, patches)
    return to_grid(rows.mean(0) if head is None else rows[head])


def to_grid(patches: Tensor) -> Tensor:
    """Values of the patches (..., g*g) to (..., g, g)."""
    side = round(patches.shape[-1] ** 0.5)
    return patches.unflatten(-1, (side, side))
