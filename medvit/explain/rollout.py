"""Attention rollout, plain and for one class.

Abnar and Zuidema: Quantifying Attention Flow in Transformers (ACL 2020). Weighting each attention by the
positive part of its gradient makes it specific to a class.

The widely used code, jacobgil/vit-explain, differs in two ways: when it discards the weakest attention it
keeps entry 0 of the flattened layer, the class token's attention to itself; and its gradient rollout takes
the positive part after fusing the heads, where here it is taken of each head before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvit.explain.forward_pass import ForwardPass, MapOptions

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


def rollout(_: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Attention followed through all layers, from what the classifier reads. Returns (gh, gw)."""
    assert forward_pass.attentions is not None
    return _patches(forward_pass, fuse_heads(forward_pass.attentions, options.head_fusion), options)


def gradient_rollout(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Rollout in which each weight counts as much as it raises the logit of the class. Returns (gh, gw)."""
    gradients = explainer.gradients(forward_pass, options.target).attentions
    positive = (forward_pass.attentions * gradients).relu()  # (layers, heads, T, T)
    return _patches(forward_pass, fuse_heads(positive, options.head_fusion), options)


def _patches(forward_pass: ForwardPass, layers: Tensor, options: MapOptions) -> Tensor:
    flow = attention_flow(layers, options.discard_ratio, forward_pass.readout)
    return forward_pass.to_grid(flow[forward_pass.patches])


def fuse_heads(attentions: Tensor, head_fusion: str = "mean") -> Tensor:
    """Fuse the heads, (layers, heads, T, T) to (layers, T, T), by "mean", "max" or "min"."""
    return attentions.mean(1) if head_fusion == "mean" else getattr(attentions, f"a{head_fusion}")(1)


def attention_flow(layers: Tensor, discard_ratio: float = 0.0, start: Tensor | None = None) -> Tensor:
    """Multiply all layers, with the identity added for the residual path and rows normalised to sum to one.

    Only the row of `start` is computed of the product, from the last layer to the first.

    Args:
        layers: (layers, T, T), not negative.
        discard_ratio: fraction of each layer's entries, the smallest, that are set to zero first. Where
            entries are equal, fewer are discarded.
        start: (T,), the weights of the tokens to start from; by default the first token, the class token.

    Returns:
        (T,), how much of the information in the start came from each token.
    """
    tokens = layers.shape[-1]
    count = int(discard_ratio * tokens**2)
    if count:
        smallest_kept = layers.flatten(1).kthvalue(count + 1, keepdim=True).values[..., None]
        layers = layers * (layers >= smallest_kept)
    flow = torch.eye(tokens, dtype=layers.dtype, device=layers.device)[0] if start is None else start
    for layer in reversed(layers.unbind()):
        scaled = flow / (layer.sum(-1) + 1)  # by the sums of the rows, to each of which the identity adds one
        flow = torch.addmv(scaled, layer.mT, scaled)
    return flow
