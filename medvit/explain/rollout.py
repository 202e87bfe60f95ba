"""Attention rollout. Abnar and Zuidema: Quantifying Attention Flow in Transformers (ACL 2020)."""

import torch
from torch import Tensor

from medvit.explain.attention import to_grid


def rollout(attentions: Tensor) -> Tensor:
    """Attention of the class token followed through all layers, the residual path counted as identity.

    Args:
        attentions: (layers, heads, T, T), class token first; rows sum to one.

    Returns:
        (g, g)
    """
    identity = torch.eye(attentions.shape[-1], dtype=attentions.dtype)
    flow = identity
    for weights in attentions.mean(1):  # (T, T)
        mixed = weights + identity
        flow = mixed / mixed.sum(-1, keepdim=True) @ flow
    return to_grid(flow[0, 1:])
