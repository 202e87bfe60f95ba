"""The files of a checkpoint folder: reading them with checks, and writing them atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medvit import card, untrusted
from medvit.data import Dataset
from medvit.errors import MedvitError
from medvit.files import atomic_file, sha256
from medvit.imaging.preprocess import Preprocessing
from medvit.models import folder_check, timm_models
from medvit.models.folder_check import WEIGHTS

TRUST = "trust.npz"
WEIGHTS_BYTES = 2**31
MODEL_TYPES = (
    "medvit_cnn", "medvit_vit", "medvit_spt_lsa", "vit", "deit", "beit", "dinov2", "dinov2_with_registers",
    timm_models.MODEL_TYPE, "swin", "swinv2", "resnet", "convnext", "convnextv2",
)  # fmt: skip
STAGED = MODEL_TYPES[-5:]  # each stage has half the resolution of the one before
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation, no parameters
MAX_VALUES = 2**27  # of the attention of all layers, or of a feature map, for one image
MAX_VALUE = 1e6  # of the arrays in trust.npz
REQUIRED = ("config.json", WEIGHTS, "preprocessor_config.json", "card.json", "test.npz")
TEST_ARRAYS = {"logits", "labels", "tsne"}
TRUST_ARRAYS = {
    "sha256", "temperature", "nonconformity_scores", "nonconformity_scores_tta", "ood_means", "ood_whitening",
    "ood_threshold", "ood_reference", "thresholds",
}  # fmt: skip


def read_card(folder: Path) -> dict[str, Any]:
    """The content of card.json.

    Raises:
        MedvitError: it cannot be read, or a field is missing or of another type.
    """
    content = untrusted.read_json(folder / "card.json")
    card.check(content)
    return content


def check_model_files(
    folder: Path, card: Mapping[str, Any], dataset: Dataset, preprocessing: Preprocessing
) -> None:
    """Check config.json and the weights against the card, the preprocessing and the limits.

    Raises:
        MedvitError: they differ, or a prediction of such a model would take too much memory.
    """
    config = folder_check.read_config(folder)
    if "config_sha256" in card and sha256(folder / "config.json") != card["config_sha256"]:
        raise MedvitError("config.json is not the file that card.json describes: its sha256 differs")
    if config.get("model_type") not in MODEL_TYPES:
        raise MedvitError(f"config.json is not of one of the architectures {', '.join(MODEL_TYPES)}")
    if not preprocessing.size == card["input_size"] == config.get("image_size"):
        raise MedvitError("card.json, config.json and preprocessor_config.json give different image sizes")
    names = config.get("id2label")
    if config["model_type"] == timm_models.MODEL_TYPE:
        names = timm_models.names_by_index(config)
    if names != {str(i): name for i, name in enumerate(dataset.classes)}:
        raise MedvitError(f"the classes in config.json are not those of {dataset.title}")
    _check_memory(folder, config)
    _check_weights(folder / WEIGHTS, card)


def _check_memory(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise MedvitError where one prediction needs too much memory for attention or for feature maps."""
    side = config["image_size"]
    if config["model_type"] in STAGED:
        values = _values_of_stages(config, side)
    elif config["model_type"] == "medvit_cnn":
        values = side**2 * _whole(config, "width")
    elif config["model_type"] == timm_models.MODEL_TYPE:
        values = timm_models.count_values(folder, side)
    else:
        tokens = (side // _whole(config, "patch_size")) ** 2 + 1
        values = _whole(config, "num_hidden_layers") * _whole(config, "num_attention_heads") * tokens**2
    if values > MAX_VALUES:
        raise MedvitError(
            f"config.json describes a model whose attention or feature maps have {values:.1e} values for one "
            f"image; the limit is {MAX_VALUES:.1e}"
        )


def _values_of_stages(config: Mapping[str, Any], side: int) -> int:
    """The most values that one layer of a hierarchical model has, with four times the width in its MLPs."""
    if config["model_type"].startswith("swin"):
        tokens = (side // _whole(config, "patch_size")) ** 2
        heads = max(_whole_numbers(config, "num_heads"))
        width = _whole(config, "embed_dim") * 2 ** len(_whole_numbers(config, "depths"))
        return tokens * max(4 * width, heads * min(_whole(config, "window_size") ** 2, tokens))
    # The first layer of a ResNet halves the resolution.
    stride, stem = (
        (2, _whole(config, "embedding_size"))
        if config["model_type"] == "resnet"
        else (_whole(config, "patch_size"), 1)
    )
    stages = enumerate(_whole_numbers(config, "hidden_sizes"))
    return max((side // stride) ** 2 * stem, *(4 * (side // stride // 2**i) ** 2 * w for i, w in stages))


def _whole(config: Mapping[str, Any], name: str) -> int:
    """A whole number from 1 in config.json."""
    if type(config.get(name)) is not int or config[name] < 1:
        raise MedvitError(f"config.json has no usable {name!r}")
    return config[name]


def _whole_numbers(config: Mapping[str, Any], name: str) -> list[int]:
    """A list of 1 to 64 whole numbers from 1 in config.json."""
    values = config.get(name)
    if not isinstance(values, list) or not 1 <= len(values) <= 64:
        raise MedvitError(f"config.json has no usable {name!r}")
    return [_whole({name: value}, name) for value in values]


def _check_weights(path: Path, card: Mapping[str, Any]) -> None:
    if path.stat().st_size > WEIGHTS_BYTES:
        raise MedvitError(f"{path.name} is larger than {WEIGHTS_BYTES / 2**30:g} GB")
    shapes = untrusted.read_shapes(path)
    parameters = sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(STATISTICS))
    if parameters != card["parameters"]:
        declared = f"{card['parameters']:,} as in card.json"
        raise MedvitError(f"{path.name} has {parameters:,} parameters and not {declared}")
    if sha256(path) != card["sha256"]:
        raise MedvitError(f"{path.name} is not the file that card.json describes: its sha256 differs")


def read_trust(folder: Path, weights: str, dataset: Dataset) -> dict[str, np.ndarray]:
    """The arrays of trust.npz, if they were fitted to these weights.

    Args:
        weights: the sha256 of the weights.

    Raises:
        MedvitError: there is none, or it is not usable; the text says how to fit it.
    """
    path = folder / TRUST
    how_to_fit = f"Fit it with `medvit evaluate --fit {folder}`."
    if not path.is_file():
        raise MedvitError(f"This model has no {TRUST}, so its probabilities are not calibrated. {how_to_fit}")
    try:
        arrays = untrusted.read_arrays(path, TRUST_ARRAYS)
    except MedvitError as error:
        raise MedvitError(f"{path} is damaged and ignored ({error}). {how_to_fit}") from error
    if str(arrays.get("sha256", "")) != weights:
        raise MedvitError(f"{path} was fitted to other weights and is ignored. {how_to_fit}")
    if problem := _problem_of_trust(arrays, dataset):
        raise MedvitError(
            f"{path} is damaged, or was fitted by an older medvit, and is ignored ({problem}). {how_to_fit}"
        )
    return arrays


def _problem_of_trust(arrays: Mapping[str, np.ndarray], dataset: Dataset) -> str:
    """What is wrong with the arrays of trust.npz, or nothing."""
    classes, features = len(dataset.classes), max(arrays.get("ood_means", np.empty(0)).shape[-1:])
    single_label, two_classes = not dataset.multi_label, classes == 2 and not dataset.multi_label
    has_ood = "ood_reference" in arrays
    # Name -> shape, None for any length, and whether it must be there.
    expected: dict[str, tuple[tuple[int | None, ...], bool]] = {
        "temperature": ((2, 2), True),
        "nonconformity_scores": ((None,), single_label),
        "nonconformity_scores_tta": ((None,), single_label),
        "thresholds": ((2,), two_classes),
        "ood_means": ((None, features), has_ood),
        "ood_whitening": ((features, features), has_ood),
        "ood_threshold": ((), has_ood),
    }
    for name, (shape, required) in expected.items():
        if name not in arrays:
            if required:
                return f"it lacks {name}"
            continue
        array = arrays[name]
        fits = len(array.shape) == len(shape) and all(
            length == wanted if wanted is not None else length > 0
            for length, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind != "f" or not np.abs(array).max() <= MAX_VALUE:
            return f"its {name} has the shape {array.shape}, is not of numbers, or has values out of range"
    return ""


def read_test(path: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits, labels and t-SNE embedding of test.npz, checked against the dataset."""
    arrays = untrusted.read_arrays(path, TEST_ARRAYS)
    if missing := {"logits", "labels"} - arrays.keys():
        raise MedvitError(f"test.npz lacks {min(missing)}")
    logits, labels, tsne = arrays["logits"], arrays["labels"], arrays.get("tsne")
    images, classes = (logits.shape + (0,))[0], len(dataset.classes)
    expected = (images, classes) if dataset.multi_label else (images,)
    if not images or logits.shape != (images, classes) or labels.shape != expected:
        raise MedvitError(
            f"test.npz does not fit {dataset.title}: logits {logits.shape}, labels {labels.shape}"
        )
    if logits.dtype.kind != "f" or labels.dtype.kind not in "iu" or not np.isfinite(logits).all():
        raise MedvitError("test.npz has logits or labels that are not finite numbers")
    if labels.min() < 0 or labels.max() >= (2 if dataset.multi_label else classes):
        raise MedvitError("test.npz has labels that are not classes of the dataset")
    fits = tsne is None or (tsne.shape == (images, 2) and tsne.dtype.kind == "f" and np.isfinite(tsne).all())
    if tsne is not None and not fits:
        raise MedvitError(f"test.npz has a t-SNE embedding {tsne.shape} for {images} images")
    return logits, labels.astype(np.int64), tsne


def write_test(folder: Path, logits: np.ndarray, labels: np.ndarray, tsne: np.ndarray | None = None) -> None:
    """Write test.npz atomically; `logits` as `to_half` returns them, `tsne` float16 (N, 2)."""
    arrays: dict[str, Any] = {"logits": logits, "labels": labels.astype(np.min_scalar_type(labels.max()))}
    if tsne is not None:
        arrays["tsne"] = tsne
    with atomic_file(folder / "test.npz") as file:
        np.savez_compressed(file, **arrays)


def write_trust(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write trust.npz atomically."""
    with atomic_file(folder / TRUST) as file:
        np.savez_compressed(file, **dict[str, Any](arrays))


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace card.json atomically."""
    with atomic_file(folder / "card.json") as file:
        file.write(json.dumps(card, indent=1).encode() + b"\n")
