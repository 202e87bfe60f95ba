"""Measure an image classifier that was not trained here on a dataset, and write it as a checkpoint folder.

Its classes are matched with those of the dataset by name. It chooses among the classes of the dataset alone,
as ImageNet models are measured on collections with a part of the classes (Hendrycks et al., ICCV 2021); the
accuracy among all its classes is measured too.
"""

from __future__ import annotations

import copy
import platform
import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from medvit import checkpoint, explain, files
from medvit.checkpoint_files import MODEL_TYPES
from medvit.data import Dataset, load_split
from medvit.data.dataset import to_json
from medvit.errors import MedvitError
from medvit.evaluation.inference import hardware, predict
from medvit.evaluation.metrics import evaluate
from medvit.explain.model_folder import find_folder
from medvit.imaging import Preprocessing, resize, to_tensor
from medvit.models import folder_check, timm_models
from medvit.models.features import classifier, forward_with_features
from medvit.text import few

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 64
NOT_TRAINED = "not trained here"
# A card has a recipe; that of such a model is not known.
NO_RECIPE = {"epochs": 0, "batch_size": 0, "learning_rate": 0.0, "weight_decay": 0.0}


@dataclass(frozen=True)
class MatchedModel:
    """An opened model and, for each class of a dataset, the index of the model's class of that name.

    `left_out`: classes of the model that the dataset does not have.
    """

    source: str
    explainer: explain.Explainer
    columns: list[int]
    left_out: list[str]

    @property
    def name(self) -> str:
        """A name for folders and cards, from the last part of the source."""
        last = Path(self.source).expanduser().resolve().name if Path(self.source).is_dir() else self.source
        return files.safe_name(last.split("/")[-1]).strip("-.")[:100] or "model"


def open_external(source: str, dataset: Dataset) -> MatchedModel:
    """Open a model by folder, hub id or name of timm, and match its classes with those of a dataset.

    Raises:
        MedvitError: it is no usable image classifier, it prepares its pictures by more than resizing and
            normalising, or it lacks classes of the dataset.
    """
    explainer = explain.Explainer(source)
    explainer.preparation.check(source)
    columns, left_out = match_classes(dataset.classes, explainer.classes, source)
    return MatchedModel(source, explainer, columns, left_out)


def match_classes(wanted: Sequence[str], classes: Sequence[str], source: str) -> tuple[list[int], list[str]]:
    """Match class names, without regard to case, spaces, hyphens and underscores.

    A whole name comes before a part of one between commas: ImageNet's "partridge" is not its "ruffed grouse,
    partridge, Bonasa umbellus".

    Returns:
        the index in `classes` of each wanted class, and the classes that none was matched with.

    Raises:
        MedvitError: wanted classes are not among `classes`, or one matches several.
    """
    places: dict[str, list[int]] = {}
    for i, name in enumerate(classes):
        places.setdefault(_plain(name), []).append(i)
    whole = set(places)
    for i, name in enumerate(classes if len(classes) > 500 else ()):
        for alias in set(map(_plain, name.split(","))) - whole:
            places.setdefault(alias, []).append(i)
    missing = [name for name in wanted if _plain(name) not in places]
    if missing:
        raise MedvitError(
            f"{len(missing)} of the {len(wanted)} classes of the pictures are not classes of {source}: "
            f"{few(missing)}. Those of the model ({len(classes):,}): {few(classes, 5)}. Rename the class "
            "folders, or the labels in metadata.csv, as the model names them."
        )
    if ambiguous := [name for name in wanted if len(places[_plain(name)]) > 1]:
        raise MedvitError(f"Classes that match several of {source} ({len(ambiguous)}): {few(ambiguous)}.")
    columns = [places[_plain(name)][0] for name in wanted]
    if len(set(columns)) < len(columns):
        raise MedvitError(f"Several classes of the pictures match one class of {source}.")
    return columns, [name for i, name in enumerate(classes) if i not in set(columns)]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def predict_split(
    model: MatchedModel, dataset: Dataset, split: str, size: int, data_root: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, C of the model) of a split by the model as it is, and labels (N,) of the dataset.

    The square images are resized to the input of the model, which need not be square.
    """
    images, labels = load_split(dataset, split, size, data_root)
    explainer = model.explainer
    input_size = explainer.preparation.input_size
    parts = []
    for start in tqdm(range(0, len(images), BATCH), model.name, leave=False, disable=None, unit="batch"):
        pixels = to_tensor(images[start : start + BATCH]).float()
        if pixels.shape[-2:] != input_size:
            pixels = 255 * resize(pixels / 255, input_size)
        parts.append(explainer.logits(pixels).numpy())
    return np.concatenate(parts), labels


def preprocessing_of(model: MatchedModel) -> Preprocessing:
    """Return the preprocessing of a checkpoint folder that holds the model.

    Raises:
        MedvitError: as `restrict`.
    """
    preparation = model.explainer.preparation
    height, width = preparation.input_size
    if height != width:
        raise MedvitError(f"its input of {width} x {height} pixels is not square")
    normalization = preparation.normalization
    return Preprocessing(height, normalization.mean, normalization.std, normalization.rescale_factor)


def among_all_classes(model: MatchedModel, logits: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy where the model chooses among all its classes."""
    return float((logits.argmax(1) == np.array(model.columns)[labels]).mean())


def write_checkpoint(
    folder: Path,
    model: MatchedModel,
    restricted: PreTrainedModel,
    dataset: Dataset,
    size: int,
    data_root: str | Path | None = None,
) -> None:
    """Fill a checkpoint folder: the model as `restrict` returns it, its metrics and its card."""
    start = time.monotonic()
    preprocessing = preprocessing_of(model)
    checkpoint.write_model(folder, restricted, preprocessing)
    stored = checkpoint.load_model(folder)
    card: dict[str, Any] = {}
    for split, key in (("val", "validation"), ("test", "test")):
        images, labels = load_split(dataset, split, size, data_root)
        logits = checkpoint.to_half(predict(stored, preprocessing, images)[0])
        card[key] = evaluate(logits, labels, dataset.task, dataset.classes)
    checkpoint.write_test(folder, logits, labels)
    public = model.source if not Path(model.source).is_dir() else Path(model.source).resolve().name
    card |= {
        "subset": dataset.name,
        "model": model.name,
        "seed": 0,
        "recipe": NO_RECIPE,
        "strategy": NOT_TRAINED,
        "source_size": size,
        "input_size": preprocessing.size,
        "interpolation": "bicubic" if preprocessing.size != size else None,
        "parameters": stored.num_parameters(),
        "backbone": public,
        "trained_on": 0,
        "history": [],
        "selection": NOT_TRAINED,
        "hardware": hardware(torch.device("cpu")),
        "seconds": round(time.monotonic() - start, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sha256": files.sha256(folder / checkpoint.WEIGHTS),
    }
    if dataset.own:
        card["dataset"] = to_json(dataset)
    checkpoint.write_card(folder, card)


def restrict(model: MatchedModel, dataset: Dataset) -> PreTrainedModel:
    """Copy the model with the classes of the dataset, in their order, as a checkpoint folder holds it.

    Raises:
        MedvitError: a checkpoint folder cannot hold it; the text says why, without a capital and a full stop.
    """
    explainer = model.explainer
    size = preprocessing_of(model).size
    if explainer.multi_label:
        raise MedvitError("an image may have several of its classes")
    if explainer.preparation.normalization.bgr or explainer.preparation.channels != 3:
        raise MedvitError("the channels of its input are not red, green, blue")
    if timm_models.is_timm(explainer.model):
        config = folder_check.read_config(find_folder(model.source))
        copied: Any = timm_models.wrap(explainer.model, config)
    else:
        copied = copy.deepcopy(explainer.model)
    if getattr(getattr(copied, "config", None), "model_type", None) not in MODEL_TYPES:
        raise MedvitError(f"{type(copied).__name__} is not among the architectures {', '.join(MODEL_TYPES)}")
    # A CNN takes any size; the others have the size in their configuration.
    if getattr(copied.config, "image_size", size) != size:
        raise MedvitError(f"its config.json has image_size {copied.config.image_size} and not {size}")
    _select_classes(copied, model.columns)
    copied.config.image_size = size
    copied.config.id2label = dict(enumerate(dataset.classes))
    copied.config.label2id = {name: i for i, name in enumerate(dataset.classes)}
    noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, expected = (forward_with_features(net, noise)[0] for net in (copied, explainer.model))
    if not torch.allclose(logits, expected[:, model.columns], rtol=1e-3, atol=1e-3):
        raise MedvitError("a copy of it with the classes of the pictures alone predicts otherwise")
    return copied


def _select_classes(model: Any, columns: list[int]) -> None:
    """Leave only some classes in the last layer of a model, in this order."""
    head = classifier(model)
    layers = [] if head is None else [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if len(layers) != 1:
        raise MedvitError("its logits do not come from one linear layer")
    (layer,) = layers
    layer.weight = nn.Parameter(layer.weight.detach()[columns])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[columns])
    layer.out_features = model.num_labels = len(columns)
