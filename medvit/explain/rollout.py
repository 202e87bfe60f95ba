"""Attention rollout, plain and for one class.

Abnar and Zuidema: Quantifying Attention Flow in Transformers (ACL 2020). Weighting each attention by the
positive part of its gradient makes it specific to a class.
"""

import functools

import torch
from torch import Tensor

from medvit.explain.explainer import Explainer, ForwardPass, MapOptions


def rollout(_: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """Attention of the class token followed through all layers. Returns (gh, gw)."""
    assert seen.attentions is not None
    flow = follow(fuse(seen.attentions, choice.fusion), choice.discard)
    return seen.to_grid(flow[seen.patches])


def gradient_rollout(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """The same, each weight counting as much as it raises the logit of `choice.target`. Returns (gh, gw)."""
    assert seen.attentions is not None
    raised = (seen.attentions * explainer.gradients(seen, choice.target).attentions).relu()
    return seen.to_grid(follow(fuse(raised, choice.fusion), choice.discard)[seen.patches])


def fuse(attentions: Tensor, fusion: str = "mean") -> Tensor:
    """Join the heads: (layers, heads, T, T) to (layers, T, T) by "mean", "max" or "min"."""
    return attentions.mean(1) if fusion == "mean" else getattr(attentions, f"a{fusion}")(1)


def follow(layers: Tensor, discard: float = 0.0) -> Tensor:
    """Multiply all layers, the residual path counted as identity and rows summing to one.

    Of the product only the class token's row is computed, from the last layer to the first.

    Args:
        layers: (layers, T, T), not negative. discard: the share of each layer's weakest entries to drop
        first.

    Returns:
        (T,): from where the information in the first token, the class token, came.
    """
    if discard > 0:
        flat = layers.flatten(1)
        weakest = flat.kthvalue(max(1, int(discard * flat.shape[1])), keepdim=True).values
        layers = layers * (layers > weakest[..., None])
    mixed = layers + torch.eye(layers.shape[-1], dtype=layers.dtype, device=layers.device)
    *earlier, last = mixed / mixed.sum(-1, keepdim=True)
    return functools.reduce(torch.matmul, reversed(earlier), last[0])
