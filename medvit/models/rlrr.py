"""Low-rank rescaled residual fine-tuning (RLRR): few new parameters, merged into the weights afterwards.

Dong et al.: Low-Rank Rescaled Vision Transformer Fine-Tuning: A Residual Design Approach (CVPR 2024). Each
weight matrix W of a block becomes W + W * row * column, with one factor for each row and one for each column;
each bias gets a shift; each norm and the patch embedding get a scale and a shift for each channel. The new
parameters are float32, whatever the dtype of the model.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import ViTForImageClassification


class _Rescale(nn.Module):
    """W + W * row * column; W itself at the start, as `row` is zero."""

    def __init__(self, weight: Tensor):
        super().__init__()
        rows, columns = weight.shape
        self.row = nn.Parameter(torch.zeros(rows, 1, device=weight.device))
        self.column = nn.Parameter(torch.ones(1, columns, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return (weight + weight * self.row * self.column).to(weight.dtype)


class _Shift(nn.Module):
    """b + shift."""

    def __init__(self, bias: Tensor):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(bias.shape, device=bias.device))

    def forward(self, bias: Tensor) -> Tensor:
        return (bias + self.shift).to(bias.dtype)


class _Scale(nn.Module):
    """w * scale, with one factor for each output channel of a weight of any shape."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(len(weight), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return (weight * self.scale.view(-1, *[1] * (weight.ndim - 1))).to(weight.dtype)


class _ScaleAndShift(_Shift):
    """b * scale + shift, with the scale of the weight of the same module."""

    def __init__(self, bias: Tensor, scale: nn.Parameter):
        super().__init__(bias)
        self._scale = (scale,)  # in a tuple, so that this parameter is registered only once

    def forward(self, bias: Tensor) -> Tensor:
        return (bias * self._scale[0] + self.shift).to(bias.dtype)


def apply(model: ViTForImageClassification) -> None:
    """Freeze a ViT except its head and add the rescaling parameters, in place; the logits stay the same."""
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
    """Parametrise w x + b as (w x + b) * scale + shift."""
    scaled = _Scale(module.weight)
    parametrize.register_parametrization(module, "weight", scaled)
    parametrize.register_parametrization(module, "bias", _ScaleAndShift(module.bias, scaled.scale))


def merge(model: ViTForImageClassification) -> None:
    """Replace the weights by their rescaled values and remove the added parameters, in place."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
