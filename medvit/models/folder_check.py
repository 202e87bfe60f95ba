"""Check a model folder of unknown origin, in Hugging Face format, and load its model."""

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules import module as torch_modules

from medvit import untrusted
from medvit.errors import MedvitError, first_line
from medvit.slow_imports import transformers

WEIGHTS = "model.safetensors"
# Arguments of timm.create_model that name files or change how they are read; no part of an architecture.
FORBIDDEN_ARGUMENTS = {
    "model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args",
    "checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "features_only",
}  # fmt: skip
MAX_NUMBER = 300_000  # in a config.json
# Tensors and elements that a model may have beyond those in its file, such as a head for other classes.
SPARE_TENSORS = 64
SPARE_ELEMENTS = 10**7
MODULES_PER_TENSOR = 16  # at most; most modules have one or two tensors, dropout and activations have none


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        MedvitError: it cannot be read, holds a number that no image classifier needs, or would make timm read
            other files.
    """
    config = untrusted.read_json(folder / "config.json")
    if (folder / "adapter_config.json").exists():
        raise MedvitError("it has an adapter_config.json, which names another model: merge the adapter first")
    for place, number in _numbers(config):
        if not abs(number) <= MAX_NUMBER or (number < 0 and place.startswith("num_")):  # NaN neither
            raise MedvitError(
                f"config.json has {number:.3g} for {place[:80]!r}; at most {MAX_NUMBER:,} is used"
            )
    arguments, architecture = config.get("model_args") or {}, config.get("architecture")  # of timm
    if not isinstance(arguments, dict) or FORBIDDEN_ARGUMENTS & set(arguments):
        raise MedvitError("config.json has model_args that belong to no architecture")
    if architecture is not None and not re.fullmatch(r"\w+(\.\w+)?", str(architecture)):
        raise MedvitError("config.json names no architecture of timm")
    return config


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number inside JSON, with the name of its field."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _numbers(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from _numbers(child, place)
    elif isinstance(value, int | float):
        yield place, min(max(value, -1e300), 1e300)  # an integer of hundreds of digits has no float


def check_sizes(folder: Path, build: Callable[[], Any] | None = None) -> Any:
    """Check that config.json describes a model no larger than the weights beside it, without building it.

    The model is built on PyTorch's meta device, where tensors take no memory, and this stops as soon as it
    has more tensors or elements than the file: a configuration of 300,000 layers is refused at once.

    Args:
        build: builds the model; by default as transformers does.

    Returns:
        the model on the meta device.

    Raises:
        MedvitError: it describes a larger model, or a file cannot be read.
    """
    read_config(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise MedvitError(f"{WEIGHTS} is missing")
    shapes = [shape for path in files for shape in untrusted.read_shapes(path).values()]
    try:
        with torch.device("meta"), _at_most(len(shapes), sum(map(math.prod, shapes))):
            return build() if build else _build(folder)
    except MedvitError:
        raise
    except Exception as error:  # whatever a hostile configuration makes the library raise
        raise MedvitError(f"config.json is not usable ({first_line(error)})") from error


def load_classifier(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load an image classifier in float32, from safetensors only and without remote code.

    Returns:
        the `PreTrainedModel` in evaluation mode, and which weights were missing, unexpected or of another
            shape.

    Raises:
        MedvitError: config.json describes another model than the weights, or a weight is not finite.
        Exception: whatever else a damaged folder makes the library raise.
    """
    check_sizes(folder)
    model, report = transformers.AutoModelForImageClassification.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    check_finite(model)
    return model.eval(), report


def _build(folder: Path) -> Any:
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # While it builds, transformers sets PyTorch's default dtype, for other threads as well.
    return transformers.AutoModelForImageClassification.from_config(
        config, dtype=torch.float32, trust_remote_code=False
    )


@contextmanager
def _at_most(tensors: int, elements: int) -> Iterator[None]:
    """Raise MedvitError when this thread builds a module with more tensors, elements or submodules."""
    caller = threading.get_ident()
    max_tensors, max_elements = tensors + SPARE_TENSORS, 2 * elements + SPARE_ELEMENTS
    max_modules = MODULES_PER_TENSOR * max_tensors
    counted = {"tensors": 0, "elements": 0, "modules": 0}

    def count_tensor(_module: torch.nn.Module, _name: str, tensor: torch.Tensor | None) -> None:
        if tensor is not None and threading.get_ident() == caller:
            counted["tensors"] += 1
            counted["elements"] += tensor.numel()
            check()

    def count_module(_module: torch.nn.Module, _name: str, _child: torch.nn.Module | None) -> None:
        if threading.get_ident() == caller:
            counted["modules"] += 1
            check()

    def check() -> None:
        if (
            counted["tensors"] > max_tensors
            or counted["elements"] > max_elements
            or counted["modules"] > max_modules
        ):
            raise MedvitError(
                f"config.json describes a larger model than the weights, which are {tensors:,} tensors of "
                f"{elements:,} values in all"
            )

    with ExitStack() as hooks:
        hooks.callback(torch_modules.register_module_parameter_registration_hook(count_tensor).remove)
        hooks.callback(torch_modules.register_module_buffer_registration_hook(count_tensor).remove)
        hooks.callback(torch_modules.register_module_module_registration_hook(count_module).remove)
        yield


def check_finite(model: torch.nn.Module) -> None:
    """Raise MedvitError where a weight is infinite or not a number."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise MedvitError(f"the weights have values that are not finite numbers, in {name[:80]}")


def check_logits(model: torch.nn.Module, logits: Any) -> None:
    """Raise MedvitError where the output of a model is not logits (B, classes), all of them finite."""
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        raise MedvitError(
            f"{type(model).__name__} does not give logits (images, classes), so it is no image classifier."
        )
    if not logits.isfinite().all():
        raise MedvitError(
            f"{type(model).__name__} gives values that are not finite numbers: its weights or its "
            "preprocessing are damaged."
        )


def check_output(model: torch.nn.Module, size: int, classes: int) -> None:
    """Raise an exception unless a model gives finite logits (1, classes) for an input (1, 3, size, size)."""
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, size, size, dtype=torch.float32)).logits
    if logits.shape != (1, classes) or not logits.isfinite().all():
        raise MedvitError(f"it does not give a finite number for each of its {classes} classes")
