"""Low-rank rescaled residual fine-tuning: a few numbers per layer, merged into the plain weights afterwards.

Dong et al.: Low-Rank Rescaled Vision Transformer Fine-Tuning: A Residual Design Approach
(CVPR 2024). Each weight matrix W of a block becomes W + W * left * right, with `left` one number a row and
`right` one a column; each bias gets a shift; after each norm and the patch embedding come a scale and a shift
a channel.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import ViTForImageClassification


class _Rescale(nn.Module):
    """W + W * left * right; nothing at the start, as `left` is zero."""

    def __init__(self, weight: Tensor):
        super().__init__()
        rows, columns = weight.shape
        self.left = nn.Parameter(torch.zeros(rows, 1, device=weight.device))
        self.right = nn.Parameter(torch.ones(1, columns, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + weight * self.left * self.right


class _Shift(nn.Module):
    """b + shift."""

    def __init__(self, bias: Tensor):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros_like(bias))

    def forward(self, bias: Tensor) -> Tensor:
        return bias + self.shift


class _Scale(nn.Module):
    """w * scale, a number for each output channel of a weight of any shape."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(len(weight), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale.view(-1, *[1] * (weight.ndim - 1))


class _ScaleAndShift(_Shift):
    """b * scale + shift, with the scale of the weight beside it."""

    def __init__(self, bias: Tensor, scale: nn.Parameter):
        super().__init__(bias)
        self._scale = (scale,)  # in a tuple, so that the one parameter is registered, and saved, once

    def forward(self, bias: Tensor) -> Tensor:
        return bias * self._scale[0] + self.shift


def apply(model: ViTForImageClassification) -> None:
    """Freeze a ViT but for its head and add the rescaling parameters, in place; the logits stay the same."""
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    for layer in model.vit.layers:
        attention, mlp = layer.attention, layer.mlp
        linears = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, mlp.fc1, mlp.fc2)
        for linear in linears:
            parametrize.register_parametrization(linear, "weight", _Rescale(linear.weight))
            if linear.bias is not None:
                parametrize.register_parametrization(linear, "bias", _Shift(linear.bias))
        _scale_and_shift(layer.layernorm_before)
        _scale_and_shift(layer.layernorm_after)
    _scale_and_shift(model.vit.layernorm)
    _scale_and_shift(model.vit.embeddings.patch_embeddings.projection)


def _scale_and_shift(module: nn.Module) -> None:
    """(w x + b) * scale + shift, as new values of w and b."""
    scaled = _Scale(module.weight)
    parametrize.register_parametrization(module, "weight", scaled)
    parametrize.register_parametrization(module, "bias", _ScaleAndShift(module.bias, scaled.scale))


def merge(model: ViTForImageClassification) -> None:
    """Put the rescaled values in the place of the plain weights, and drop the added parameters, in place."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
