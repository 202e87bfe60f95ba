"""Raw attention of one layer: from the class token, or from one patch, to the patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from medvit.errors import MedvitError
from medvit.explain.forward_pass import ForwardPass, MapOptions

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


def attention(_: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """The attention weights of one layer, of one head or the mean of all, from one token to the patches.

    The token is the patch `options.patch`, or what the classifier reads, usually the class token.

    Returns:
        (gh, gw); together with the attention to the prefix tokens the values sum to one.

    Raises:
        MedvitError: there is no such layer, head or patch.
    """
    attentions = forward_pass.attentions
    assert attentions is not None and forward_pass.readout is not None
    layers, heads = attentions.shape[:2]
    patches = forward_pass.grid[0] * forward_pass.grid[1]
    if not -layers <= options.layer < layers:
        raise MedvitError(f"There is no layer {options.layer}; the model has {layers}.")
    if options.head is not None and not 0 <= options.head < heads:
        raise MedvitError(f"There is no head {options.head}; the model has {heads}.")
    if options.patch is not None and not 0 <= options.patch < patches:
        raise MedvitError(f"There is no patch {options.patch}; the image has {patches}.")
    layer = attentions[options.layer]  # (heads, T, T)
    if options.patch is None:
        rows = forward_pass.readout @ layer  # (heads, T)
    else:
        rows = layer[:, forward_pass.first_patch + options.patch]
    row = rows.mean(0) if options.head is None else rows[options.head]
    return forward_pass.to_grid(row[forward_pass.patches])
