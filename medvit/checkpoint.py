"""The checkpoint folder: one trained model, its card, and its logits on the whole test split.

config.json, model.safetensors, preprocessor_config.json    Hugging Face format, weights in fp16
card.json                                                   data, recipe, history, hardware, metrics
test.npz                                                    float16 logits (N, C), labels (N,) and an
                                                            optional t-SNE embedding (N, 2) of the test split
trust.npz (optional)                                        what reliability/fit.py fitted on validation
"""

from __future__ import annotations

import copy
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medvit import models
from medvit.data import Dataset, medmnist
from medvit.errors import MedvitError
from medvit.files import atomic_file, sha256
from medvit.imaging.preprocess import Preprocessing
from medvit.slow_imports import transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model.safetensors"
TRUST = "trust.npz"
REQUIRED = ("config.json", WEIGHTS, "preprocessor_config.json", "card.json", "test.npz")
# The fields of card.json that the app reads, and their types.
CARD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "model": str, "seed": int, "recipe": dict, "source_size": int, "input_size": int, "parameters": int,
    "trained_on": int, "history": list, "selection": str, "hardware": str, "seconds": (int, float),
    "validation": dict, "test": dict, "sha256": str,
}  # fmt: skip


def _default_root() -> Path:
    """$MEDVIT_CHECKPOINTS, else checkpoints/ beside the package in a clone, else the user's cache folder."""
    if root := os.environ.get("MEDVIT_CHECKPOINTS"):
        return Path(root)
    in_clone = Path(__file__).resolve().parent.parent / "checkpoints"
    return in_clone if in_clone.is_dir() else Path.home() / ".cache" / "medvit" / "checkpoints"


DEFAULT_ROOT = _default_root()
TRUST_ARRAYS = {
    "sha256", "temperature", "nonconformity_scores", "nonconformity_scores_tta", "ood_means", "ood_whitening",
    "ood_threshold", "ood_reference", "thresholds",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint folder. `card` is the content of card.json.

    `test_logits`: float16 (N, C), of the whole test split. `test_labels`: int64 (N,), or (N, C) of 0 and 1.
    `test_tsne`: float16 (N, 2), the t-SNE embedding of the test images' features, or None.
    `trust`: the arrays of trust.npz; where it is None, `trust_problem` is a sentence that says why.
    """

    folder: Path
    card: dict[str, Any]
    preprocessing: Preprocessing
    test_logits: np.ndarray
    test_labels: np.ndarray
    test_tsne: np.ndarray | None = None
    trust: dict[str, np.ndarray] | None = None
    trust_problem: str = ""

    @property
    def dataset(self) -> Dataset:
        return medmnist.get(self.card["subset"])

    @property
    def model_name(self) -> str:
        return self.card["model"]

    @property
    def title(self) -> str:
        return models.TITLES.get(self.model_name, self.model_name)

    @property
    def seed_accuracies(self) -> list[float]:
        """Test accuracy of each training run of the recipe, one a seed, this one included."""
        return [seed["test_accuracy"] for seed in self.card.get("seeds", [])]

    @property
    def origin(self) -> str:
        """How the weights came about, as a phrase: backbone, teachers, and earlier stages of training."""
        backbone, stage = self.card.get("backbone"), self.card.get("start")
        phrase = f"fine-tuned from {backbone}" if backbone else "trained from scratch"
        if count := len(self.card.get("teachers", [])):
            phrase += f", distilled from {count} other model{'s' * (count > 1)}"
        stages: list[str] = []
        while stage:
            stages.insert(0, f"{stage['recipe']['epochs']} epochs on {medmnist.get(stage['subset']).title}")
            stage = stage.get("start")
        return f"{phrase} (earlier stages: {', '.join(stages)})" if stages else phrase

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model in evaluation mode, float32 on the CPU; read from disk when it is first needed.

        Raises:
            MedvitError: the weights do not fit the configuration.
        """
        return load_model(self.folder)


def load_model(folder: Path) -> PreTrainedModel:
    """Read the model of a folder in float32, from safetensors only and without remote code.

    Raises:
        MedvitError: a weight is missing, unexpected or of another shape.
    """
    try:
        model, report = transformers.AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(f"The model in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    problems = [f"{kind.replace('_', ' ')}: {_few(keys)}" for kind, keys in report.items() if keys]
    if problems:
        raise MedvitError(f"The weights in {folder} do not fit config.json ({'; '.join(problems)}).")
    if model.config.model_type == "vit":
        model.set_attn_implementation("sdpa")  # the fused kernel; see `write_model`
    return model.eval()


def _few(keys: Iterable[Any]) -> str:
    """At most three names of weights, and how many more there are."""
    names = sorted(map(str, keys))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load(folder: str | Path) -> Checkpoint:
    """Open and check a checkpoint folder; the weights are loaded later, by `Checkpoint.model`.

    Raises:
        MedvitError: the folder is damaged or incomplete; the text names it and says what is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MedvitError(f"There is no checkpoint folder {folder}.")
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise MedvitError(f"The checkpoint {folder} is incomplete: {', '.join(missing)} missing.")
    try:
        card = json.loads((folder / "card.json").read_text())
        dataset = medmnist.get(card["subset"])
        _check_card(card)
        preprocessing = Preprocessing.from_json((folder / "preprocessor_config.json").read_text())
        logits, labels, test_tsne = _read_test(folder / "test.npz", dataset)
        if sha256(folder / WEIGHTS) != card["sha256"]:
            raise MedvitError(f"{WEIGHTS} is not the file that card.json describes: its sha256 differs")
    except (
        MedvitError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise MedvitError(f"The checkpoint {folder} is damaged: {error}.") from error
    try:
        trust, problem = _read_trust(folder, card["sha256"]), ""
    except MedvitError as error:
        trust, problem = None, str(error)
    return Checkpoint(folder, card, preprocessing, logits, labels, test_tsne, trust, problem)


def _check_card(card: dict[str, Any]) -> None:
    for key, kind in CARD_FIELDS.items():
        if not isinstance(card.get(key), kind):
            raise MedvitError(f"card.json has no usable {key!r}")
    if not isinstance(card.get("teachers", []), list):
        raise MedvitError("card.json has no usable 'teachers'")
    if not all(isinstance(seed["test_accuracy"], float) for seed in card.get("seeds", [])):
        raise MedvitError("card.json has no usable 'seeds'")
    stage = card.get("start")
    while stage:
        if not isinstance(stage["recipe"]["epochs"], int):
            raise MedvitError("card.json has no usable 'start'")
        medmnist.get(stage["subset"])
        stage = stage.get("start")


def _read_trust(folder: Path, weights: str) -> dict[str, np.ndarray]:
    """The arrays of trust.npz, if they were fitted to these weights."""
    path = folder / TRUST
    how_to_fit = f"Fit it with `medvit evaluate --fit {folder}`."
    if not path.is_file():
        raise MedvitError(f"This model has no {TRUST}, so its probabilities are not calibrated. {how_to_fit}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        fitted_to, shape = str(arrays["sha256"]), arrays["temperature"].shape
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedvitError(f"{path} is damaged and ignored ({error}). {how_to_fit}") from error
    if fitted_to != weights:
        raise MedvitError(f"{path} was fitted to other weights and is ignored. {how_to_fit}")
    if shape != (2, 2) or not TRUST_ARRAYS.issuperset(arrays):
        raise MedvitError(f"{path} was fitted by an older medvit and is ignored. {how_to_fit}")
    return arrays


def _read_test(path: Path, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits, labels and t-SNE embedding of test.npz, checked against the dataset."""
    with np.load(path, allow_pickle=False) as archive:
        logits, labels = archive["logits"], archive["labels"].astype(np.int64)
        tsne = archive.get("tsne")
    classes = len(dataset.classes)
    expected = (len(logits), classes) if dataset.multi_label else (len(logits),)
    if logits.shape != (len(logits), classes) or labels.shape != expected or not np.isfinite(logits).all():
        raise MedvitError(
            f"test.npz does not fit {dataset.title}: logits {logits.shape}, labels {labels.shape}"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= (2 if dataset.multi_label else classes):
        raise MedvitError("test.npz has labels that are not classes of the dataset")
    if tsne is not None and (tsne.shape != (len(logits), 2) or not np.isfinite(tsne).all()):
        raise MedvitError(f"test.npz has a t-SNE embedding {tsne.shape} for {len(logits)} images")
    return logits, labels, tsne


def discover(root: str | Path | None = None) -> tuple[list[Checkpoint], dict[str, str]]:
    """Open all checkpoints below a folder (<root>/<dataset>/<model>), in the order of datasets and models.

    Returns:
        The usable checkpoints, and {relative path: what is wrong} of the others.
    """
    root = Path(root or DEFAULT_ROOT)
    checkpoints, problems = [], {}
    for folder in sorted(root.glob("[!._]*/[!.]*/")):
        if not folder.is_dir():
            continue
        try:
            checkpoints.append(load(folder))
        except MedvitError as error:
            problems[str(folder.relative_to(root))] = str(error)
    order = {name: i for i, name in enumerate((*medmnist.names(), *models.NAMES))}
    checkpoints.sort(key=lambda c: (order[c.dataset.name], order.get(c.model_name, len(order))))
    return checkpoints, problems


def write_model(folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
    """Write the Hugging Face files of a checkpoint, weights in fp16.

    transformers' own ViT returns attentions only where the fused kernel does not compute them, so the folder
    of such a model names "eager" attention: `output_attentions=True` works for everyone who opens it.
    """
    copy.deepcopy(model).cpu().half().save_pretrained(folder)
    if model.config.model_type == "vit":
        path = folder / "config.json"
        config = json.loads(path.read_text()) | {"attn_implementation": "eager"}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / WEIGHTS).chmod(0o644)  # written readable for its owner alone
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing.to_json(), indent=2) + "\n")


def write_test(folder: Path, logits: np.ndarray, labels: np.ndarray, tsne: np.ndarray | None = None) -> None:
    """Write test.npz atomically; `logits` as `to_half` returns them, `tsne` float16 (N, 2)."""
    arrays: dict[str, Any] = {"logits": logits, "labels": labels.astype(np.uint8)}
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


def to_half(logits: np.ndarray) -> np.ndarray:
    """Round float32 logits (N, C) to float16 so that the argmax of each row stays."""
    half = logits.astype(np.float16)
    rows = np.arange(len(half))
    top = logits.argmax(1)
    rest = half.copy()
    rest[rows, top] = -np.inf
    second = rest.max(1, initial=-np.inf)
    tied = half[rows, top] <= second
    half[rows[tied], top[tied]] = np.nextafter(second[tied], np.float16(np.inf))
    return half
