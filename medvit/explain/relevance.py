"""Gradient-times-attention relevance, propagated through the layers.

Chefer, Gur and Wolf: Generic Attention-model Explainability (ICCV 2021), the rule for self-attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvit.explain.forward_pass import ForwardPass, MapOptions

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


def relevance(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """How much each patch raised the logit of the class through the attention. Returns (gh, gw)."""
    gradients = explainer.gradients(forward_pass, options.target).attentions
    total = propagate(forward_pass.attentions, gradients, forward_pass.readout)
    return forward_pass.to_grid(total[forward_pass.patches])


def propagate(attentions: Tensor, gradients: Tensor, start: Tensor | None = None) -> Tensor:
    """R = identity; then for each layer R = R + mean over heads of (gradient * attention)+ R.

    Only the row of `start` is computed, from the last layer to the first, of R - identity: so the result of
    a model with mean pooling does not drown in the constant that the identity adds to its patches.

    Args:
        attentions, gradients: (layers, heads, T, T)
        start: (T,), the weights of the tokens to start from; by default the first token, the class token.

    Returns:
        (T,)
    """
    if start is None:
        start = torch.eye(attentions.shape[-1], dtype=attentions.dtype, device=attentions.device)[0]
    total = torch.zeros_like(start)
    for layer, gradient in zip(reversed(attentions.unbind()), reversed(gradients.unbind()), strict=True):
        positive = (layer * gradient).relu_().mean(0)  # (T, T)
        total = torch.addmv(total, positive.mT, start + total)
    return total
