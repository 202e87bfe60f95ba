"""A forward pass that also gives the features: what the classifier reads."""

import copy
import threading
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from medvit.errors import MedvitError


def forward_with_features(model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
    """One forward pass over normalised images (B, 3, H, W), with gradients or without, as the caller has it.

    Safe while other threads use the model: the hook is removed afterwards and ignores their passes.

    Returns:
        logits (B, classes); and the features (B, D), detached: the input of the classifier, such as the class
        token after the last norm of a ViT. None where `classifier` knows none.
    """
    features = None
    caller = threading.get_ident()

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal features
        if threading.get_ident() == caller:
            features = inputs[0].detach().flatten(1)  # of a ResNet (B, D, 1, 1)

    layer = classifier(model)
    with nullcontext() if layer is None else layer.register_forward_pre_hook(keep):
        output = model(pixel_values)
    return getattr(output, "logits", output), features


def classifier(model: nn.Module) -> nn.Module | None:
    """The module that makes logits of features: `model.classifier`, or what timm says; None where unknown."""
    model = getattr(model, "timm_model", model)  # which transformers has wrapped
    get_classifier = getattr(model, "get_classifier", lambda: getattr(model, "classifier", None))
    layer = get_classifier()
    return layer if isinstance(layer, nn.Module) else None


def in_evaluation_mode(model: nn.Module) -> nn.Module:
    """The model itself; where it trains, or is not in float32 on the CPU, an evaluation copy that is."""
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    other = any(weight.dtype != torch.float32 or weight.device.type != "cpu" for weight in weights)
    if not (other or model.training):
        return model
    copied = copy.deepcopy(model).eval()
    return copied.float().cpu() if other else copied


def unwrap(model: Any) -> nn.Module:
    """The model inside what `torch.compile` or data parallelism made of it.

    Raises:
        MedvitError: it is no PyTorch module, or one of TorchScript, which cannot be looked into.
    """
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    model = model.module if parallel else getattr(model, "_orig_mod", model)
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise MedvitError(
            f"A model is a folder, a hub id, a name of timm or a torch.nn.Module, not {type(model).__name__}."
        )
    return model
