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
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvit import data, limits, models
from medvit.checkpoint_files import (
    REQUIRED,
    TRUST,
    WEIGHTS,
    check_model_files,
    read_card,
    read_test,
    read_trust,
    write_card,
    write_test,
    write_trust,
)
from medvit.data import Dataset, medmnist
from medvit.errors import MedvitError, first_line
from medvit.imaging.preprocess import Preprocessing
from medvit.models import folder_check

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "DEFAULT_ROOT", "REQUIRED", "TRUST", "WEIGHTS", "Checkpoint", "discover", "load", "load_model", "to_half",
    "write_card", "write_model", "write_test", "write_trust",
]  # fmt: skip


def _default_root() -> Path:
    """$MEDVIT_CHECKPOINTS, else checkpoints/ beside the package in a clone, else the user's cache folder."""
    if root := os.environ.get("MEDVIT_CHECKPOINTS"):
        return Path(root)
    in_clone = Path(__file__).resolve().parent.parent / "checkpoints"
    return in_clone if in_clone.is_dir() else Path.home() / ".cache" / "medvit" / "checkpoints"


DEFAULT_ROOT = _default_root()


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

    @cached_property
    def dataset(self) -> Dataset:
        return data.of_card(self.card)

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
        if self.card["trained_on"] == 0:
            return f"not trained here, from {backbone}"
        phrase = f"fine-tuned from {backbone}" if backbone else "trained from scratch"
        if count := len(self.card.get("teachers", [])):
            phrase += f", distilled from {count} other model{'s' * (count > 1)}"
        stages: list[str] = []
        while stage:
            stages.insert(0, f"{stage['recipe']['epochs']} epochs on {data.title(stage['subset'])}")
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
        MedvitError: config.json describes another model than the weights, or a weight is not finite.
    """
    try:
        model, report = folder_check.load_classifier(folder)
        folder_check.check_output(model, model.config.image_size, model.config.num_labels)
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(f"The model in {folder} cannot be loaded: {first_line(error)}.") from error
    problems = [f"{kind.replace('_', ' ')}: {_few(keys)}" for kind, keys in report.items() if keys]
    if problems:
        raise MedvitError(f"The weights in {folder} do not fit config.json ({'; '.join(problems)}).")
    if model.config.model_type == "vit":
        model.set_attn_implementation("sdpa")  # the fused kernel; see `write_model`
    return model


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
        card = read_card(folder)
        dataset = data.of_card(card)
        preprocessing = Preprocessing.read(folder / "preprocessor_config.json")
        logits, labels, test_tsne = read_test(folder / "test.npz", dataset)
        check_model_files(folder, card, dataset, preprocessing)
    except (MedvitError, OSError) as error:
        raise MedvitError(f"The checkpoint {folder} is damaged: {str(error).rstrip('.')}.") from error
    try:
        trust, problem = read_trust(folder, card["sha256"], dataset), ""
    except MedvitError as error:
        trust, problem = None, str(error)
    return Checkpoint(folder, card, preprocessing, logits, labels, test_tsne, trust, problem)


def discover(root: str | Path | None = None) -> tuple[list[Checkpoint], dict[str, str]]:
    """Open the checkpoints below a folder (<root>/<dataset>/<model>), in the order of datasets and models.

    At most CHECKPOINTS folders are read. Folders without any file of a checkpoint are passed over.

    Returns:
        The usable checkpoints, and {relative path: what is wrong} of the others.
    """
    root = Path(root or DEFAULT_ROOT)
    folders = [
        folder
        for folder in sorted(root.glob("[!._]*/[!.]*/"))
        if any((folder / name).exists() for name in REQUIRED)
    ]
    checkpoints, problems = [], {}
    for folder in folders[: limits.CHECKPOINTS]:
        try:
            checkpoints.append(load(folder))
        except MedvitError as error:
            problems[_printable(folder.relative_to(root))] = _printable(error)
    if rest := folders[limits.CHECKPOINTS :]:
        problems[_printable(rest[0].relative_to(root))] = _printable(
            f"{root} has {len(folders):,} checkpoint folders, and the last {len(rest):,} were not read: at "
            f"most {limits.CHECKPOINTS:,} are opened at once. Move some elsewhere and name that folder with "
            "--checkpoints."
        )
    order = {name: i for i, name in enumerate((*medmnist.names(), *models.NAMES))}
    last = len(order)
    checkpoints.sort(
        key=lambda c: (order.get(c.dataset.name, last), c.dataset.name, order.get(c.model_name, last))
    )
    return checkpoints, problems


def _printable(value: object) -> str:
    """A text that can be encoded, whatever bytes are in the name of a folder."""
    return str(value).encode(errors="replace").decode()


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
