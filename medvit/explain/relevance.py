"""Gradient-times-attention relevance, propagated through the layers.

Chefer, Gur and Wolf: Generic Attention-model Explainability (ICCV 2021), the rule for self-attention.
"""

import torch
from torch import Tensor

from medvit.explain.explainer import Explainer, ForwardPass, MapOptions


def relevance(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """How much each patch raised the logit of `choice.target` by way of the attention. Returns (gh, gw)."""
    assert seen.attentions is not None
    total = propagate(seen.attentions, explainer.gradients(seen, choice.target).attentions)
    return seen.to_grid(total[seen.patches])


def propagate(attentions: Tensor, gradients: Tensor) -> Tensor:
    """R = 1; then for each layer R = R + E_heads[(gradient * attention)+] R.

    Both arguments (layers, heads, T, T). Returns the class token's row of R, (T,), computed from the last
    layer to the first.
    """
    raised = (attentions * gradients).relu().mean(1)  # (layers, T, T)
    total = torch.zeros(raised.shape[-1], dtype=raised.dtype, device=raised.device)
    total[0] = 1
    for layer in raised.flip(0):
        total = torch.addmv(total, layer.mT, total)
    return total
