"""What an explainer has to know of a model, found out by running it once on an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvit.errors import MedvitError
from medvit.explain.attention_recorder import TOO_LARGE, AttentionRecorder
from medvit.explain.token_dropping import find_first_block

MAX_PREFIX_TOKENS = 8  # class, distillation and register tokens before the patches


@dataclass(frozen=True)
class Structure:
    """The attention layers of a model and what its classifier reads of their tokens.

    Attributes:
        classes: number of logits.
        layers: number of attention layers that can be read; 0 where there are none.
        problem: why there are none, a sentence; empty where there are some.
        prefix_tokens: indices of the prefix tokens that the classifier reads.
        reads_patches: whether it reads the patch tokens, as a model with mean pooling does.
        cam_layer: the module at whose output a class activation map is computed, or None. In a transformer it
            is the LayerNorm before the last attention: where the classifier reads the class token alone, the
            gradient of the patches is exactly zero behind that attention. Otherwise it is the last
            convolutional block.
        first_block: the transformer block at whose input patch tokens can be dropped, or None.
        attention_values: number of attention weights of all layers for one image.
        prefix: number of prefix tokens, such as the class token; the others are patches.
    """

    classes: int
    layers: int
    problem: str
    prefix_tokens: tuple[int, ...]
    reads_patches: bool
    cam_layer: nn.Module | None
    first_block: nn.Module | None = None
    attention_values: int = 0
    prefix: int = 0

    def readout(self, patches: int) -> Tensor:
        """The weight (T,) with which the classifier reads each token, the prefix tokens first.

        All of it is on the class token, or spread evenly over the patches of a model with mean pooling; where
        the classifier reads both, half is on each.
        """
        weights = torch.zeros(self.prefix + patches)
        weights[list(self.prefix_tokens)] = 1 / max(1, len(self.prefix_tokens))
        if self.reads_patches:
            weights[-patches:] = 1 / patches
        return weights / weights.sum()


def inspect_model(model: nn.Module, logits: Callable[[Tensor], Tensor], inputs: Tensor) -> Structure:
    """Find the structure of a model by running it on inputs (B, 3, H, W).

    Args:
        logits: the forward pass, inputs (B, 3, H, W) to logits (B, classes).
    """
    inputs = inputs[:1]
    with torch.no_grad(), AttentionRecorder() as recorder:
        classes = logits(inputs).shape[-1]
    weights = [layer for layer in recorder.weights if layer.shape[-2] > 1]  # without attention pooling
    cam_layer = find_cam_layer(model, recorder)
    name = type(model).__name__
    if recorder.too_large:
        problem = f"The attention of all layers of {name} {TOO_LARGE}"
        return Structure(classes, 0, problem, (), False, cam_layer)
    if recorder.mixed:
        problem = f"{name} computes attention in two ways, so its layers cannot be followed one to the next"
        return Structure(classes, 0, problem, (), False, cam_layer)
    if not weights:
        return Structure(classes, 0, _why_no_attention(model), (), False, cam_layer)
    tokens = weights[0].shape[-1]
    same = all(layer.shape == weights[0].shape for layer in weights) and len(weights[0]) == 1
    # Attention between channels has matrices as well, but not as large as there are tokens.
    between_tokens = recorder.norm_tokens in (tokens, None)
    grid = patch_grid(model, inputs.shape[-2:], tokens) if same and between_tokens else None
    if grid is None:
        problem = f"The attention layers of {name} do not all span the whole image, patch by patch"
        return Structure(classes, 0, problem, (), False, cam_layer)
    with torch.no_grad(), AttentionRecorder(gradients_from=len(weights) - 1) as recorder:
        output = logits(inputs)[0]
        last = recorder.weights[len(weights) - 1]
        (gradient,) = torch.autograd.grad(output[output.argmax()], [last])
    read = gradient[0].abs().sum((0, 2)) > 0  # (T,): the others do not change the logit
    prefix = tokens - grid[0] * grid[1]
    prefix_tokens = tuple(read[:prefix].nonzero().flatten().tolist())
    first_block = find_first_block(model, logits, inputs, len(weights), tokens, grid[0] * grid[1])
    reads_patches = bool(read[prefix:].any())
    values = len(weights) * weights[0].numel()
    return Structure(
        classes, len(weights), "", prefix_tokens, reads_patches, cam_layer, first_block, values, prefix
    )


def _why_no_attention(model: nn.Module) -> str:
    """Why no attention was recorded, in plain words without a full stop."""
    names = [type(module).__name__.lower() for module in model.modules()]
    if any("attention" in name or "attn" in name for name in names):
        return f"The attention of {type(model).__name__} cannot be read"
    # The patch embedding of a transformer or mixer has a stride as large as its kernel.
    is_cnn = any(
        isinstance(module, nn.Conv2d) and max(module.stride) == 1 and max(module.kernel_size) > 1
        for module in model.modules()
    )
    return "This model has no attention" + (": it is a CNN" if is_cnn else "")


def patch_grid(model: nn.Module, size: tuple[int, int] | torch.Size, tokens: int) -> tuple[int, int] | None:
    """Patches down and across for inputs of `size` (H, W) pixels that become `tokens` tokens, or None.

    From the patch size where the model tells it, else the most patches, in the proportions of the input, that
    leave few prefix tokens.
    """
    patch_sizes = [getattr(getattr(model, "config", None), "patch_size", None)]
    patch_sizes += [
        module.kernel_size
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.in_channels in (1, 3)
        and module.kernel_size == module.stride
    ]
    for patch in filter(None, patch_sizes):
        height, width = (patch, patch) if isinstance(patch, int) else tuple(patch)
        grid = size[0] // height, size[1] // width
        if 0 <= tokens - grid[0] * grid[1] <= MAX_PREFIX_TOKENS:
            return grid
    for patches in range(tokens, max(0, tokens - MAX_PREFIX_TOKENS - 1), -1):
        rows = math.isqrt(patches * size[0] // size[1])
        columns = patches // max(1, rows)
        if rows * columns == patches and rows * size[1] == columns * size[0]:
            return rows, columns
    return None


def find_cam_layer(model: nn.Module, recorder: AttentionRecorder) -> nn.Module | None:
    """The module at whose output a CAM is computed, see `Structure`, from the recording of a forward pass."""
    if (layer := _module_of(model, recorder.norm_weight)) is not None:
        return layer
    blocks = list(getattr(model, "blocks", []))  # of medvit's CNN: better than the last convolution in them
    if blocks and any(isinstance(module, nn.Conv2d) for module in blocks[-1].modules()):
        return blocks[-1]
    return _module_of(model, recorder.conv_weight)


def _module_of(model: nn.Module, weight: Tensor | None) -> nn.Module | None:
    """The module that owns a weight."""
    if weight is None:
        return None
    return next((module for module in model.modules() if getattr(module, "weight", None) is weight), None)


def as_map(
    values: Tensor, cam_layer: nn.Module | None, model: nn.Module, size: tuple[int, int] | torch.Size
) -> Tensor:
    """The output of the CAM layer for an input of `size` (H, W) pixels, as a map (1, C, h, w), detached.

    Args:
        values: of a convolution, (1, C, h, w); of a LayerNorm, tokens (1, T, C) or maps (1, h, w, C).

    Raises:
        MedvitError: they are not laid out as patches.
    """
    values = values.detach()
    if values.ndim == 4:
        return values.permute(0, 3, 1, 2) if "Norm" in type(cam_layer).__name__ else values
    grid = patch_grid(model, size, values.shape[1])
    if grid is None:
        raise MedvitError(f"No layer for a CAM is known in {type(model).__name__}.")
    return values[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(-1, grid)
