"""The checkpoint folder: one trained model, its card, and what it said on the whole test split.

config.json, model.safetensors, preprocessor_config.json    Hugging Face format, weights in fp16
card.json                                                   where it comes from and what it reached
test.npz                                                    float16 logits (N, C), labels (N,) and, where it
                                                            was made, the map (N, 2) of the test split
trust.npz (optional)                                        what evaluation/trust.py fitted on validation
"""

from __future__ import annotations

import copy
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import medvit.models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.files import atomic_file, sha256
from medvit.imaging.preprocess import Preprocessing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "model.safetensors"
TRUST = "trust.npz"
REQUIRED = ("config.json", WEIGHTS, "preprocessor_config.json", "card.json", "test.npz")
# What the screens read of card.json, and what it has to be.
CARD: dict[str, type | tuple[type, ...]] = {
    "model": str, "seed": int, "recipe": dict, "source_size": int, "input_size": int, "parameters": int,
    "trained_on": int, "history": list, "selection": str, "hardware": str, "seconds": (int, float),
    "validation": dict, "test": dict, "sha256": str,
}  # fmt: skip
DEFAULT_ROOT = Path(__file__).resolve().parent.parent / "checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was found whole. `card` is the content of card.json.

    `test_logits`: float16 (N, C), of the whole test split; `test_labels`: int64 (N,), or (N, C) of 0 and 1.
    `test_map`: float16 (N, 2), the test images laid out by the model's features; None where it was not made.
    `trust` is the content of trust.npz; where it is None, `trust_problem` says in a sentence why.
    """

    folder: Path
    card: dict[str, Any]
    preprocessing: Preprocessing
    test_logits: np.ndarray
    test_labels: np.ndarray
    test_map: np.ndarray | None = None
    trust: dict[str, np.ndarray] | None = None
    trust_problem: str = ""

    @property
    def subset(self) -> medmnist.Dataset:
        return medmnist.get(self.card["subset"])

    @property
    def model_name(self) -> str:
        return self.card["model"]

    @property
    def title(self) -> str:
        return medvit.models.TITLES.get(self.model_name, self.model_name)

    @property
    def seed_accuracies(self) -> list[float]:
        """Test accuracy of each run of the recipe that was made, this one among them."""
        return [seed["test_accuracy"] for seed in self.card.get("seeds", [])]

    @property
    def origin(self) -> str:
        """What the training began with, in words."""
        backbone, start = self.card.get("backbone"), self.card.get("start")
        words = f"fine-tuned from {backbone}" if backbone else "trained from scratch"
        stages: list[str] = []
        while start:
            stages.insert(0, f"{start['recipe']['epochs']} epochs on {medmnist.get(start['subset']).title}")
            start = start.get("start")
        if count := len(self.card.get("teachers", [])):
            words += f", taught by {count} other model{'s' * (count > 1)}"
        return f"{words}, first {', then '.join(stages)}, then as said here" if stages else words

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model in evaluation mode, float32 on the CPU; read from disk at first use.

        Raises:
            MedvitError: the weights do not fit the configuration.
        """
        return load_model(self.folder)


def load_model(folder: Path) -> PreTrainedModel:
    """Read the model of a folder: safetensors only, no remote code, every parameter present.

    Raises:
        MedvitError: anything missing, superfluous or of another shape.
    """
    medvit.models.register()
    from transformers import AutoModelForImageClassification

    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(f"The model in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    wrong = {kind: sorted(map(str, keys)) for kind, keys in report.items() if keys}
    if wrong:
        raise MedvitError(f"The weights in {folder} do not fit config.json: {wrong}.")
    return model.eval()


def load(folder: str | Path) -> Checkpoint:
    """Open and check a checkpoint folder; the weights themselves are loaded later, by `Checkpoint.model`.

    Raises:
        MedvitError: the folder is damaged or half-written; the text names it and says what is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MedvitError(f"There is no checkpoint folder {folder}.")
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise MedvitError(f"The checkpoint {folder} is not whole: {', '.join(missing)} missing.")
    try:
        card = json.loads((folder / "card.json").read_text())
        subset = medmnist.get(card["subset"])
        _check_card(card)
        preprocessing = Preprocessing.from_json((folder / "preprocessor_config.json").read_text())
        logits, labels, test_map = _read_test(folder / "test.npz", subset)
        if sha256(folder / WEIGHTS) != card["sha256"]:
            raise MedvitError(f"{WEIGHTS} is not the file that card.json describes (its sha256 differs)")
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
    return Checkpoint(folder, card, preprocessing, logits, labels, test_map, trust, problem)


def _check_card(card: dict[str, Any]) -> None:
    for key, kind in CARD.items():
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
    fit_it = f"Fit it with `python scripts/evaluate.py --fit {folder}`."
    path = folder / TRUST
    if not path.is_file():
        raise MedvitError(f"This model has no {TRUST}, so its probabilities are as they come. {fit_it}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        belongs, fitted = str(arrays["sha256"]), arrays["temperature"].shape
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedvitError(f"{path} is damaged and left aside ({error}). {fit_it}") from error
    if belongs != weights:
        raise MedvitError(f"{path} was fitted to other weights than these, and is left aside. {fit_it}")
    if fitted != (2, 2):
        raise MedvitError(f"{path} was fitted by an older medvit, and is left aside. {fit_it}")
    return arrays


def _read_test(path: Path, subset: medmnist.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    with np.load(path, allow_pickle=False) as archive:
        logits, labels = archive["logits"], archive["labels"].astype(np.int64)
        test_map = archive.get("map")
    classes = len(subset.classes)
    expected = (len(logits), classes) if subset.multi_label else (len(logits),)
    if logits.shape != (len(logits), classes) or labels.shape != expected or not np.isfinite(logits).all():
        raise MedvitError(
            f"test.npz does not fit {subset.title}: logits {logits.shape}, labels {labels.shape}"
        )
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= (2 if subset.multi_label else classes):
        raise MedvitError("test.npz has labels that are no class")
    if test_map is not None and (test_map.shape != (len(logits), 2) or not np.isfinite(test_map).all()):
        raise MedvitError(f"test.npz has a map {test_map.shape} for {len(logits)} images")
    return logits, labels, test_map


def discover(root: str | Path | None = None) -> tuple[list[Checkpoint], dict[str, str]]:
    """All checkpoints below `root` (<root>/<subset>/<model>), in the order of subsets and models.

    Returns:
        The whole ones, and for each folder that is not, what is wrong with it.
    """
    root = Path(root or DEFAULT_ROOT)
    found, problems = [], {}
    for card in sorted(root.glob("[!.]*/[!.]*/")):
        if not card.is_dir():
            continue
        try:
            found.append(load(card))
        except MedvitError as error:
            problems[str(card.relative_to(root))] = str(error)
    order = {name: i for i, name in enumerate((*medmnist.names(), *medvit.models.NAMES))}
    found.sort(key=lambda c: (order[c.subset.name], order.get(c.model_name, len(order))))
    return found, problems


def write_model(folder: Path, model: PreTrainedModel, preprocessing: Preprocessing) -> None:
    """Write the Hugging Face files of a checkpoint, weights in fp16."""
    copy.deepcopy(model).cpu().half().save_pretrained(folder)
    (folder / WEIGHTS).chmod(0o644)  # written readable for its owner alone
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing.to_json(), indent=2) + "\n")


def write_test(
    folder: Path, logits: np.ndarray, labels: np.ndarray, test_map: np.ndarray | None = None
) -> None:
    """Write test.npz, whole or not at all; `logits` as `to_half` gives them, `test_map` float16 (N, 2)."""
    arrays: dict[str, Any] = {"logits": logits, "labels": labels.astype(np.uint8)}
    if test_map is not None:
        arrays["map"] = test_map
    with atomic_file(folder / "test.npz") as file:
        np.savez_compressed(file, **arrays)


def write_trust(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write trust.npz, whole or not at all."""
    with atomic_file(folder / TRUST) as file:
        np.savez_compressed(file, **dict[str, Any](arrays))


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace card.json, whole or not at all."""
    with atomic_file(folder / "card.json") as file:
        file.write(json.dumps(card, indent=1).encode() + b"\n")


def to_half(logits: np.ndarray) -> np.ndarray:
    """Round float32 logits (N, C) to float16 without changing which class is on top."""
    half = logits.astype(np.float16)
    rows = np.arange(len(half))
    top = logits.argmax(1)
    others = half.copy()
    others[rows, top] = -np.inf
    tied = half[rows, top] <= others.max(1, initial=-np.inf)
    half[rows[tied], top[tied]] = np.nextafter(others.max(1, initial=-np.inf)[tied], np.float16(np.inf))
    return half
