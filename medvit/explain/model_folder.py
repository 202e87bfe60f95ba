"""Any image classifier by its name: a folder, an id of the Hugging Face hub, or a name of timm.

A model is data: only config.json, the configuration of its preprocessing and safetensors are read, and no
code that comes with a model is run.
"""

import difflib
import operator
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from medvit.errors import MedvitError, first_line
from medvit.models import folder_check
from medvit.slow_imports import huggingface_hub, safetensors_torch, timm, transformers

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# How pictures are prepared; the second beside the tokenizer, for models of pictures and text such as CLIP.
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# The only files that are fetched from the hub; the weights of a large model are in numbered parts.
FETCHED = ("config.json", *PROCESSORS, *WEIGHTS, "model-*-of-*.safetensors")
MAX_NAME = 1000  # characters of a name or path
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def find_folder(source: str | Path) -> Path:
    """The folder of a model; one that is named by a hub id or by timm's name is fetched if it is not here.

    Raises:
        MedvitError: there is no such folder or model, or it cannot be fetched.
    """
    folder, name = Path(source), str(source)
    if not name:
        raise MedvitError("There is no model without a name. Give a folder, a hub id or a name of timm.")
    if len(name) > MAX_NAME:
        raise MedvitError(f"There is no model with a name of {len(name):,} characters: {name[:50]}...")
    try:
        folder = folder.expanduser()
        if folder.is_dir():
            return folder
    except (OSError, ValueError, RuntimeError):  # no such user, or no path at all; the name is refused below
        pass
    if isinstance(source, Path) or not HUB_ID.fullmatch(name):
        name = _hub_id_of_timm(name)
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FETCHED)))
    except Exception as error:  # the network and the hub fail in many ways
        raise MedvitError(
            f"There is no folder {source}, and the model {name} cannot be fetched from the Hugging Face hub "
            f"({first_line(error)}). Check the name and the network, or name a folder."
        ) from error


def _hub_id_of_timm(name: str) -> str:
    """The hub id of the weights of one of timm's models."""
    nothing = f"There is no model {name}: it is no folder, no hub id (owner/name)"
    if not re.fullmatch(r"[\w.-]+", name):
        raise MedvitError(f"{nothing}, and no name of timm.")
    try:
        known = timm.is_model(name)
        config = timm.get_pretrained_cfg(name, allow_unregistered=False) if known else None
    except ModuleNotFoundError as error:
        raise MedvitError(
            f"{nothing}, and timm, which might know it, is not installed (pip install timm)."
        ) from error
    except (RuntimeError, ValueError, KeyError):  # a tag that the architecture does not have
        config = None
    if config is None or not config.hf_hub_id:
        close = difflib.get_close_matches(name, timm.list_models(pretrained=True), 3)
        hint = f" Similar names of timm: {', '.join(close)}." if close else ""
        raise MedvitError(f"{nothing}, and no name for which timm has weights on the hub.{hint}")
    return config.hf_hub_id


def open_model(source: str | Path) -> tuple[nn.Module, Any]:
    """Open any image classifier by folder, hub id or name of timm.

    Returns:
        the model in evaluation mode and float32; and its image processor, None for one of timm, which brings
        its `pretrained_cfg` along.

    Raises:
        MedvitError: there is no such model, it is no image classifier, or its weights are not safetensors.
    """
    folder = find_folder(source)
    config = _read_config(folder)
    if not any((folder / name).is_file() for name in WEIGHTS):
        of_timm = "architecture" in config and "model_type" not in config
        how = "timm.models.save_for_hf(..., safe_serialization=True)" if of_timm else "save_pretrained"
        raise MedvitError(
            f"The model {source} has no model.safetensors. Other files of weights are not read, as they may "
            f"contain code; save the model again with {how}."
        )
    try:
        if "architecture" in config and "model_type" not in config:
            return _open_timm(folder), None
        return _open_transformers(folder)
    except MedvitError as error:
        raise MedvitError(f"The model {source} cannot be used: {error}") from error
    except Exception as error:  # whatever a damaged folder makes the libraries raise
        raise MedvitError(f"The model {source} cannot be loaded: {first_line(error)}.") from error


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").exists():
        inside = sorted(path.parent.name for path in folder.glob("*/config.json"))[:3]
        hint = f" Models are in its subfolders, such as {', '.join(inside)}." if inside else ""
        raise MedvitError(f"The folder {folder} is no model: config.json is missing.{hint}")
    try:
        return folder_check.read_config(folder)
    except MedvitError as error:
        raise MedvitError(f"The model in {folder} cannot be used: {error}.") from error


def _open_timm(folder: Path) -> nn.Module:
    build = partial(timm.create_model, f"local-dir:{folder}", pretrained=False)
    folder_check.check_sizes(folder, build)
    model = build()
    # Strict: a missing weight would be a random one.
    safetensors_torch.load_model(model, folder / "model.safetensors", strict=True)
    folder_check.check_finite(model)
    return model.float().eval()


def _open_transformers(folder: Path) -> tuple[nn.Module, Any]:
    model, report = folder_check.load_classifier(folder)
    random = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if random:
        raise MedvitError(
            f"its weights lack {random[0]}"
            + (f" and {len(random) - 1} others" if len(random) > 1 else "")
            + ", so it is no trained image classifier."
        )
    wrapped = hasattr(model, "timm_model")
    if not wrapped and not any((folder / name).is_file() for name in PROCESSORS):
        raise MedvitError(
            "preprocessor_config.json is missing, so how pictures are prepared is not known. Copy it from "
            "the model that this one was fine-tuned from."
        )
    processor = transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    return model, processor


@contextmanager
def running(source: str | Path) -> Iterator[None]:
    """Turn whatever a damaged model raises when it is first run into a MedvitError."""
    try:
        yield
    except MedvitError:
        raise
    except Exception as error:
        raise MedvitError(f"The model {source} cannot be run: {first_line(error)}.") from error


def class_names(model: nn.Module, count: int) -> tuple[str, ...]:
    """The names of the `count` classes of a model, all different.

    From `config.id2label` of transformers or `label_names` of timm; a model of timm with as many classes as
    ImageNet has the names of ImageNet. Otherwise, and where there are more names than classes, as behind a
    head that was replaced, "class 0", "class 1" and so on. A name that several classes have, as in ImageNet,
    gets the index of its class.
    """
    names = getattr(getattr(model, "config", None), "id2label", None)
    config = getattr(model, "pretrained_cfg", None)
    if not names and config:
        names = config.get("label_names") or _imagenet_names(count)
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if isinstance(names, dict) and len(names) > count:  # those of a head that was replaced
        names = None
    by_index = {str(index): str(name) for index, name in names.items()} if isinstance(names, dict) else {}
    each = [by_index.get(str(index), "").strip() or f"class {index}" for index in range(count)]
    while len(set(each)) < count:  # again where a name with its index is that of another class
        times = Counter(each)
        each = [f"{name} [{index}]" if times[name] > 1 else name for index, name in enumerate(each)]
    return tuple(each)


def class_index(target: int | str, count: int, model: nn.Module) -> int:
    """The index of one of the `count` classes of a model, given by index or by name.

    Raises:
        MedvitError: there is no such class.
    """
    names = class_names(model, count) if isinstance(target, str) else ()
    if target in names:
        return names.index(str(target))
    try:
        index = int(target) if isinstance(target, str) and target.isdecimal() else operator.index(target)
    except TypeError:  # a word, a fraction, a list
        index = -1
    if 0 <= index < count:
        return index
    if not names:
        raise MedvitError(f"There is no class {target}; the model has {count:,}.")
    first = ", ".join(names[:20]) + (", ..." if count > 20 else "")
    raise MedvitError(f"There is no class {target!r}. The classes are 0 to {count - 1}: {first}.")


def _imagenet_names(count: int) -> list[str]:
    subset = timm.data.infer_imagenet_subset({"num_classes": count})
    return timm.data.ImageNetInfo(subset).label_descriptions() if subset else []
