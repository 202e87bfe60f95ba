"""A forward pass that also gives the features: what the classifier reads."""

import copy
import threading
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from medvit.errors import MedvitError, first_line


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
        if threading.get_ident() == caller and inputs and len(inputs[0]) == len(pixel_values):
            features = inputs[0].detach().flatten(1)  # of a ResNet (B, D, 1, 1)

    layer = classifier(model)
    with nullcontext() if layer is None else layer.register_forward_pre_hook(keep):
        output = model(pixel_values)
    return getattr(output, "logits", output), features


def classifier(model: nn.Module) -> nn.Module | None:
    """The module that makes logits of features: `model.classifier`, or what timm says; None where unknown."""
    model = getattr(model, "timm_model", model)  # which transformers has wrapped
    get_classifier = getattr(model, "get_classifier", lambda: getattr(model, "classifier", None))
    try:
        layer = get_classifier()
    except TypeError:  # one that takes arguments
        return None
    return layer if isinstance(layer, nn.Module) else None


def in_evaluation_mode(model: nn.Module) -> nn.Module:
    """The model itself; where it trains, or is not in float32 on the CPU, an evaluation copy that is.

    What was compiled, the model or a part of it, is copied without that: attention cannot be read in
    compiled code.

    Raises:
        MedvitError: it cannot be copied.
    """
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    other = any(weight.dtype != torch.float32 or weight.device.type != "cpu" for weight in weights)
    compiled = any(
        module._compiled_call_impl is not None or hasattr(module, "_orig_mod") for module in model.modules()
    )
    # timm recomputes the blocks in the backward pass where this is set, in evaluation mode too.
    recomputes = any(getattr(module, "grad_checkpointing", False) is True for module in model.modules())
    training = any(module.training for module in model.modules())
    if not (other or compiled or recomputes or training):
        return model
    try:
        copied = copy.deepcopy(model).eval()
    except Exception as error:  # such as a tensor of a graph, or a lock, that a module holds
        raise MedvitError(
            f"{type(model).__name__} cannot be copied ({first_line(error)}). Call model.eval() first: "
            "no copy is needed in evaluation mode, in float32 and on the CPU."
        ) from error
    for module in list(copied.modules()):
        if recomputes and hasattr(module, "grad_checkpointing"):
            module.grad_checkpointing = False
        for name, child in list(module.named_children()):
            module._modules[name] = getattr(child, "_orig_mod", child)
    return copied.float().cpu() if other else copied


def unwrap(model: Any) -> nn.Module:
    """The model inside what `torch.compile` or data parallelism made of it.

    Raises:
        MedvitError: it is no PyTorch module, or one of TorchScript, which cannot be looked into.
    """
    wrapped = None
    while model is not wrapped:
        wrapped = model
        parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
        model = model.module if parallel else getattr(model, "_orig_mod", model)
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise MedvitError(
            f"A model is a folder, a hub id, a name of timm or a torch.nn.Module, not {type(model).__name__}."
        )
    return model
