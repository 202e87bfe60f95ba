"""A forward pass that also gives the features: what the classifier reads."""

import copy
import threading
from contextlib import nullcontext

import torch
from torch import Tensor, nn


def forward_with_features(model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
    """One forward pass over normalised images (B, 3, H, W), with gradients or without, as the caller has it.

    Safe while other threads use the model: the hook is removed afterwards and ignores their passes.

    Returns:
        logits (B, classes); and the features (B, D), detached: the input of the module `model.classifier`,
        such as the class token after the last norm of a ViT. None where the model has no such module.
    """
    features = None
    caller = threading.get_ident()

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal features
        if threading.get_ident() == caller:
            features = inputs[0].detach().flatten(1)  # of a ResNet (B, D, 1, 1)

    classifier = getattr(model, "classifier", None)
    hook = nullcontext() if classifier is None else classifier.register_forward_pre_hook(keep)
    with hook:
        output = model(pixel_values)
    return getattr(output, "logits", output), features


def in_evaluation_mode(model: nn.Module) -> nn.Module:
    """The model itself; where it is in training mode or of half precision, an evaluation copy in float32."""
    half = any(weight.dtype in (torch.float16, torch.bfloat16) for weight in model.parameters())
    if not (half or model.training):
        return model
    copied = copy.deepcopy(model).eval()
    return copied.float() if half else copied
