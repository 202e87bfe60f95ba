"""What an explainer has to know of a model, found out by running it once on an image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvit.explain.attention_recorder import TOO_LARGE, AttentionRecorder
from medvit.explain.cam_layer import last_layer_of_patches, last_norm_before_attention
from medvit.explain.patch_grid import patch_grid
from medvit.explain.token_dropping import find_first_block


@dataclass(frozen=True)
class Structure:
    """The attention layers of a model and what its classifier reads of their tokens.

    Attributes:
        classes: number of logits.
        layers: number of attention layers that can be read; 0 where there are none.
        problem: why there are none, a sentence; empty where there are some.
        prefix_tokens: indices of the prefix tokens that the classifier reads.
        reads_patches: whether it reads the patch tokens, as a model with mean pooling does.
        cam_layer: the module at whose output a class activation map is computed, or None. In a transformer
            with attention over all patches it is the LayerNorm before the last attention, otherwise the last
            module with a value for each patch, see `cam_layer`.
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
    grid = _grid_of_attention(model, recorder, weights, inputs)
    if grid is None:
        problem = _why_not_readable(model, recorder, weights)
        return Structure(classes, 0, problem, (), False, last_layer_of_patches(model, logits, inputs))
    norm = last_norm_before_attention(model, recorder.norm_weight)
    with torch.no_grad(), AttentionRecorder(gradients_from=len(weights) - 1) as recorder:
        output = logits(inputs)[0]
        last = recorder.weights[len(weights) - 1]
        (gradient,) = torch.autograd.grad(output[output.argmax()], [last])
    read = gradient[0].abs().sum((0, 2)) > 0  # (T,): the others do not change the logit
    tokens, patches = len(read), grid[0] * grid[1]
    prefix = tokens - patches
    return Structure(
        classes=classes,
        layers=len(weights),
        problem="",
        prefix_tokens=tuple(read[:prefix].nonzero().flatten().tolist()),
        reads_patches=bool(read[prefix:].any()),
        cam_layer=norm or last_layer_of_patches(model, logits, inputs),
        first_block=find_first_block(model, logits, inputs, len(weights), tokens, patches),
        attention_values=len(weights) * weights[0].numel(),
        prefix=prefix,
    )


def _grid_of_attention(
    model: nn.Module, recorder: AttentionRecorder, weights: list[Tensor], inputs: Tensor
) -> tuple[int, int] | None:
    """The patches down and across, where all attention is between all of them; else None."""
    if recorder.too_large or recorder.mixed or not weights:
        return None
    tokens = weights[0].shape[-1]
    same = all(layer.shape == weights[0].shape for layer in weights) and len(weights[0]) == 1
    # Attention between channels has matrices as well, but not as large as there are tokens.
    between_tokens = recorder.norm_tokens in (tokens, None)
    return patch_grid(model, inputs.shape[-2:], tokens) if same and between_tokens else None


def _why_not_readable(model: nn.Module, recorder: AttentionRecorder, weights: list[Tensor]) -> str:
    """Why attention cannot be read, a sentence without a full stop."""
    name = type(model).__name__
    if recorder.too_large:
        return f"The attention of all layers of {name} {TOO_LARGE}"
    if recorder.mixed:
        return f"{name} computes attention in two ways, so its layers cannot be followed one to the next"
    if weights:
        return f"The attention layers of {name} do not all span the whole image, patch by patch"
    return _why_no_attention(model)


def _why_no_attention(model: nn.Module) -> str:
    """Why no attention was recorded, in plain words without a full stop."""
    names = [type(module).__name__.lower() for module in model.modules()]
    if any(word in name for name in names for word in ("attention", "attn", "mla")):
        return f"The attention of {type(model).__name__} cannot be read"
    # The patch embedding of a transformer or mixer has a stride as large as its kernel.
    is_cnn = any(
        isinstance(module, nn.Conv2d) and max(module.stride) == 1 and max(module.kernel_size) > 1
        for module in model.modules()
    )
    return "This model has no attention" + (": it is a CNN" if is_cnn else "")
