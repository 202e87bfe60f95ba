"""Models of timm in the format of transformers, so that a checkpoint folder can hold them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medvit.errors import MedvitError, first_line
from medvit.models import folder_check
from medvit.slow_imports import transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_TYPE = "timm_wrapper"  # in config.json
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


def is_timm(model: nn.Module) -> bool:
    """Whether a model is one of timm, not in the format of transformers."""
    return hasattr(model, "pretrained_cfg") and not hasattr(model, "config")


def names_by_index(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The class names in a config.json, as transformers has them under id2label for other models."""
    names = config.get("label_names")
    return {str(i): name for i, name in enumerate(names)} if isinstance(names, list) else None


def wrap(model: nn.Module, config: Mapping[str, Any]) -> PreTrainedModel:
    """A copy of a model of timm as transformers opens it, in evaluation mode.

    Args:
        config: the content of timm's config.json, with the architecture and its arguments.

    Raises:
        MedvitError: timm builds another model from this configuration.
    """
    pretrained: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    arguments = dict(config.get("model_args") or {})
    # What timm takes from the configuration of the weights, see `timm.models.build_model_with_cfg`.
    if pretrained.get("global_pool"):
        arguments.setdefault("global_pool", pretrained["global_pool"])
    if pretrained.get("fixed_input_size"):
        arguments.setdefault("img_size", list(pretrained["input_size"][-2:]))
    arguments = {
        name: value for name, value in arguments.items() if name != "num_classes" and value is not None
    }
    wrapper_config = transformers.TimmWrapperConfig(
        architecture=config["architecture"], model_args=arguments, num_labels=model.num_classes
    )
    try:
        wrapper = transformers.TimmWrapperForImageClassification(wrapper_config)
        wrapper.timm_model.load_state_dict(model.state_dict())
    except Exception as error:  # whatever an architecture makes of the arguments
        raise MedvitError(
            f"timm does not build the same model from its config.json ({first_line(error)})"
        ) from error
    return wrapper.eval()


def count_values(folder: Path, side: int) -> int:
    """The attention weights of all layers for one image, or the values of the largest output if more.

    The model is run on PyTorch's meta device, where tensors take no memory.

    Args:
        folder: a model of timm in the format of transformers.
        side: of its input, in pixels.

    Raises:
        MedvitError: it cannot be run, or timm is not installed.
    """
    if importlib.util.find_spec("timm") is None:
        raise MedvitError("it is a model of timm, which is not installed: pip install timm")
    model = folder_check.check_sizes(folder)
    try:
        with torch.no_grad(), torch.device("meta"), _ValueCounter() as counter:
            model.eval()(torch.empty(1, 3, side, side))
    except Exception as error:  # whatever a hostile configuration makes the model raise
        raise MedvitError(f"config.json is not usable ({first_line(error)})") from error
    return max(counter.attention, counter.largest)


class _ValueCounter(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.attention = self.largest = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            query, key = (args + tuple((kwargs or {}).values()))[:2]
            self.attention += query.shape[:-1].numel() * key.shape[-2]
        elif isinstance(output, Tensor):
            self.attention += output.numel() * (func in SOFTMAX)
            self.largest = max(self.largest, output.numel())
        return output
