"""What an explainer has to know of a model, found out by running it once on an image."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from medvit.explain.attention_recorder import TOO_LARGE, AttentionRecorder
from medvit.explain.cam_layer import last_layer_of_patches, last_norm_before_attention
from medvit.explain.layer_outputs import outputs_in_graph
from medvit.explain.patch_grid import patch_grid
from medvit.explain.token_dropping import find_first_block


@dataclass(frozen=True)
class Structure:
    """The attention layers of a model, at one size of its input, and what its classifier reads of them.

    Attributes:
        classes: number of logits.
        layers: number of attention layers that can be read; 0 where there are none.
        problem: why there are none, a sentence; empty where there are some.
        prefix_tokens: indices of the tokens beside the patches that the classifier reads.
        reads_patches: whether it reads the patch tokens, as a model with mean pooling does.
        cam_layer: the module at whose output a class activation map is computed, or None. In a transformer
            with attention over all patches it is the LayerNorm before the last attention, otherwise the last
            module with a value for each patch, see `cam_layer`.
        first_block: the transformer block at whose input patch tokens can be dropped, or None.
        attention_values: number of attention weights of all layers for one image.
        prefix: number of tokens beside the patches, such as the class token; they usually come first.
        first_patch: index of the first patch among the tokens; None where it is not known.
        grid: patches down and across; None without attention that can be read.
        differentiable: whether the logits have a gradient with respect to the CAM layer and the attention.
        depends_on_size: whether inputs of another size may have another structure, as with attention.
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
    first_patch: int | None = None
    grid: tuple[int, int] | None = None
    differentiable: bool = True
    depends_on_size: bool = False

    def readout(self) -> Tensor | None:
        """The weight (T,) with which the classifier reads each token; None without attention to read.

        All of it is on the class token, or spread evenly over the patches of a model with mean pooling; where
        the classifier reads both, half is on each.
        """
        if self.grid is None:
            return None
        first, patches = self.first_patch or 0, self.grid[0] * self.grid[1]
        weights = torch.zeros(self.prefix + patches)
        weights[list(self.prefix_tokens)] = 1 / max(1, len(self.prefix_tokens))
        if self.reads_patches:
            weights[first : first + patches] = 1 / patches
        return weights / weights.sum()


def inspect_model(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    inputs: Tensor,
    known: Structure | None = None,
) -> Structure:
    """Find the structure of a model by running it on inputs (B, 3, H, W).

    Args:
        logits: the forward pass, inputs (B, 3, H, W) to logits (B, classes).
        known: the structure at another size of the input; where the tokens are alike, one pass is enough.
    """
    inputs = inputs[:1]
    with torch.no_grad(), AttentionRecorder() as recorder:
        classes = logits(inputs).shape[-1]
    weights = _between_tokens(recorder)
    grid = _grid_of_attention(model, recorder, weights, inputs)
    if grid is None:
        problem = _why_not_readable(model, recorder, weights)
        if known is not None and not known.layers:
            return replace(known, problem=problem)
        any_attention = bool(weights) or recorder.too_large
        return _without_attention(model, logits, inputs, classes, problem, any_attention)
    tokens, patches = weights[0].shape[-1], grid[0] * grid[1]
    prefix, values = tokens - patches, len(weights) * weights[0].numel()
    if known is not None and (known.layers, known.prefix) == (len(weights), prefix):
        return replace(known, grid=grid, attention_values=values)
    first = _first_patch(logits, inputs, weights[0], grid)
    others = [index for index in range(tokens) if not first <= index < first + patches]
    norm = last_norm_before_attention(model, recorder.norm_weight)
    with torch.no_grad(), AttentionRecorder(gradients_from=0) as recorder:
        output = logits(inputs)[0]
        layers = recorder.weights[: len(weights)]
        in_graph = not any(layer.is_inference() for layer in layers)
        in_sequence = in_graph and all(_depends_on(later, earlier) for earlier, later in pairwise(layers))
        read = _tokens_read(output, layers[-1], others)
    if not in_sequence:
        name = type(model).__name__
        problem = (
            f"{name} calls attention several times in a block, or cuts its graph, "
            "so its layers do not follow one another"
            if in_graph
            else f"{name} computes attention under torch.inference_mode, where nothing can be followed from "
            "layer to layer, as it can be under torch.no_grad"
        )
        return replace(_without_attention(model, logits, inputs, classes, problem), first_patch=first)
    return Structure(
        classes=classes,
        layers=len(weights),
        problem="",
        prefix_tokens=tuple(index for index in others if read[index]),
        reads_patches=bool(read[first : first + patches].any()),
        cam_layer=norm or last_layer_of_patches(model, logits, inputs),
        first_block=find_first_block(model, logits, inputs, len(weights), tokens, patches, first),
        attention_values=values,
        prefix=prefix,
        first_patch=first,
        grid=grid,
        differentiable=output.requires_grad,
        depends_on_size=True,
    )


def _without_attention(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    inputs: Tensor,
    classes: int,
    problem: str,
    depends_on_size: bool = True,
) -> Structure:
    """The structure of a model whose attention cannot be read, or that has none."""
    layer = last_layer_of_patches(model, logits, inputs)
    with torch.no_grad(), outputs_in_graph(layer) as outputs:
        score = logits(inputs)[0].max()
        differentiable = layer is None or (score.requires_grad and _depends_on(score, outputs[-1]))
    return Structure(
        classes, 0, problem, (), False, layer, differentiable=differentiable, depends_on_size=depends_on_size
    )


def _between_tokens(recorder: AttentionRecorder) -> list[Tensor]:
    """The recorded attention weights (B, heads, T, T), without attention pooling."""
    return [layer for layer in recorder.weights if layer.shape[-2] > 1]


def _first_patch(
    logits: Callable[[Tensor], Tensor], inputs: Tensor, weights: Tensor, grid: tuple[int, int]
) -> int:
    """The index of the token that changes with the pixels of the upper left patch.

    Args:
        weights: of the first attention for these inputs, (1, heads, T, T).
    """
    prefix = weights.shape[-1] - grid[0] * grid[1]
    if not prefix:
        return 0
    height, width = inputs.shape[-2] // grid[0], inputs.shape[-1] // grid[1]
    corner = inputs[..., :height, :width]
    noise = torch.randn(corner.shape, generator=torch.Generator().manual_seed(0))
    changed = inputs.clone()
    changed[..., :height, :width] = corner + noise * inputs.abs().max().clamp(min=1)
    with torch.no_grad(), AttentionRecorder() as recorder:
        logits(changed)
    # A token that changes has other scores with all tokens; the other rows change by a constant, which the
    # softmax adds, and in one column.
    change = (_between_tokens(recorder)[0].log() - weights.log()).nan_to_num(0, 0, 0)
    change = (change - change.median(-1, keepdim=True).values).abs().sum((0, 1, 3))[: prefix + 1]
    return prefix if change[prefix] == change.max() else int(change.argmax())


def _depends_on(later: Tensor, earlier: Tensor) -> bool:
    """Whether a tensor, such as the weights of a layer, is computed from an earlier one."""
    (gradient,) = torch.autograd.grad(
        later, [earlier], torch.ones_like(later), retain_graph=True, allow_unused=True
    )
    return gradient is not None


def _tokens_read(output: Tensor, last: Tensor, others: list[int]) -> Tensor:
    """Which tokens, bool (T,), change the highest logit of `output` (classes,) behind the last attention.

    Where none does, as with a classifier of zeros, it is the first of the `others`, which are no patches,
    such as the class token; without these it is all patches.
    """
    gradient = None
    if output.requires_grad:
        (gradient,) = torch.autograd.grad(output[output.argmax()], [last], allow_unused=True)
    read = (torch.zeros_like(last) if gradient is None else gradient)[0].abs().sum((0, 2)) > 0
    if not read.any():
        read[others[:1] or slice(None)] = True
    return read


def _grid_of_attention(
    model: nn.Module, recorder: AttentionRecorder, weights: list[Tensor], inputs: Tensor
) -> tuple[int, int] | None:
    """The patches down and across, where all attention is between all of them; else None."""
    if recorder.too_large or recorder.mixed or recorder.incomplete or not weights:
        return None
    _, heads, _, tokens = weights[0].shape
    same = all(layer.shape == (1, heads, tokens, tokens) for layer in weights)
    # Attention between channels has matrices as well, but not as large as there are tokens.
    between_tokens = recorder.norm_shape is None or tokens in recorder.norm_shape
    return patch_grid(model, inputs.shape[-2:], tokens) if same and between_tokens else None


def _why_not_readable(model: nn.Module, recorder: AttentionRecorder, weights: list[Tensor]) -> str:
    """Why attention cannot be read, a sentence without a full stop."""
    name = type(model).__name__
    if recorder.too_large:
        return f"The attention of all layers of {name} {TOO_LARGE}"
    if recorder.mixed:
        return f"{name} computes attention in two ways, so its layers cannot be followed one to the next"
    if recorder.incomplete and weights:
        return (
            f"Some attention layers of {name} cannot be read, so its layers cannot be followed to the image"
        )
    if weights:
        return f"The attention layers of {name} do not all span the whole image, patch by patch"
    return _why_no_attention(model, recorder.incomplete)


def _why_no_attention(model: nn.Module, called: bool) -> str:
    """Why no attention was recorded, though it was `called` or not, in plain words without a full stop."""
    names = [type(module).__name__.lower() for module in model.modules()]
    if called or any(word in name for name in names for word in ("attention", "attn", "mla")):
        return f"The attention of {type(model).__name__} cannot be read"
    # The patch embedding of a transformer or mixer has a stride as large as its kernel.
    is_cnn = any(
        isinstance(module, nn.Conv2d) and max(module.stride) == 1 and max(module.kernel_size) > 1
        for module in model.modules()
    )
    return "This model has no attention" + (": it is a CNN" if is_cnn else "")
