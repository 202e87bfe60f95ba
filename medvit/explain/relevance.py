"""Gradient-times-attention relevance, propagated through the layers.

Chefer, Gur and Wolf: Generic Attention-model Explainability (ICCV 2021), the rule for self-attention.
"""

import torch
from torch import Tensor

from medvit.explain.explainer import Choice, Explainer, Seen


def relevance(explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """How much each patch raised the logit of `choice.target` by way of the attention. Returns (gh, gw)."""
    assert seen.attentions is not None
    total = propagate(seen.attentions, explainer.gradients(seen, choice.target).attentions)
    return seen.to_grid(total[0, seen.patches])


def propagate(attentions: Tensor, gradients: Tensor) -> Tensor:
    """R = 1; then for each layer R = R + E_heads[(gradient * attention)+] R.

    Both arguments (layers, heads, T, T); returns R, (T, T).
    """
    raised = (attentions * gradients).relu().mean(1)  # (layers, T, T)
    total = torch.eye(raised.shape[-1], dtype=raised.dtype, device=raised.device)
    for layer in raised:
        total = torch.addmm(total, layer, total)
    return total
