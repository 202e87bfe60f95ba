"""Where in a model a class activation map (CAM) is computed."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medvit.explain.layer_outputs import outputs_in_graph
from medvit.explain.patch_grid import as_map

# Their outputs are no features: parts of attention such as its matrix, and what a module before them gave.
NO_FEATURES = (nn.Linear, nn.Softmax, nn.Dropout, nn.Identity)
TRIED = 40  # modules from the end; a transformer block has about eight


def last_norm_before_attention(model: nn.Module, weight: Tensor | None) -> nn.Module | None:
    """The LayerNorm with a weight that `AttentionRecorder` recorded.

    The CAM layer of a transformer with attention over all patches: where the classifier reads the class token
    alone, the gradient of the patches is exactly zero behind the last attention.
    """
    if weight is None:
        return None
    return next((module for module in model.modules() if getattr(module, "weight", None) is weight), None)


def last_layer_of_patches(
    model: nn.Module, logits: Callable[[Tensor], Tensor], inputs: Tensor
) -> nn.Module | None:
    """The last module with a value for each patch, at one of which the logit has a gradient.

    This is the last block of a CNN, and the last norm or stage of other models with mean pooling. Behind the
    last attention of a model that reads the class token alone, patches have no gradient. Where none has one,
    as with a classifier of zeros, it is the last module with a value for each patch; None if there is none.

    Args:
        logits: the forward pass of the model, inputs (1, 3, H, W) to logits (1, classes).
    """
    modules = _modules_with_maps(model, logits, inputs)[:TRIED]
    for module in modules:
        with torch.no_grad(), outputs_in_graph(module) as outputs:
            score = logits(inputs)[0].max()
            if not score.requires_grad:  # the output is not used
                continue
            (gradient,) = torch.autograd.grad(score, outputs[-1:], allow_unused=True)
        read = None if gradient is None else as_map(gradient, model, inputs.shape[-2:])
        if read is not None and read.any():
            return module
    return modules[0] if modules else None


def _modules_with_maps(
    model: nn.Module, logits: Callable[[Tensor], Tensor], inputs: Tensor
) -> list[nn.Module]:
    """The modules whose output is laid out as patches, the one that ran last first."""
    with_maps: list[nn.Module] = []
    caller = threading.get_ident()

    def check(module: nn.Module, _inputs: tuple, output: object) -> None:
        if threading.get_ident() != caller or not isinstance(output, Tensor):
            return
        if output.is_floating_point() and as_map(output, model, inputs.shape[-2:]) is not None:
            with_maps.append(module)

    hooks = [
        module.register_forward_hook(check)
        for module in model.modules()
        if not isinstance(module, NO_FEATURES)
    ]
    try:
        with torch.no_grad():
            logits(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(reversed(with_maps)))  # each once
