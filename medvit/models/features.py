"""A forward pass that also gives the features: what the classifier reads."""

import threading
from contextlib import nullcontext

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
