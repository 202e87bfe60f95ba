"""An image classifier that was not trained here, with what the app asks of a checkpoint: `app --model`.

It has no test results, no calibration and no out-of-distribution check; screens that need them say so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medvit import explain, imaging
from medvit.checkpoint import Checkpoint
from medvit.data import Dataset
from medvit.errors import MedvitError
from medvit.evaluation.model_card import ModelCard
from medvit.explain import display
from medvit.explain.model_folder import find_folder
from medvit.inference.predictor import Predictor

GROUP = "your_models"  # stands for the dataset of all of them
MAX_SIDE = 1024  # pixels of an input
LIMITATIONS = (
    "For research and teaching, not for diagnosis.",
    "The model was not measured here: its accuracy is unknown, and its probabilities are not calibrated.",
    "The model names one of its classes for any picture, whatever the picture shows.",
)


@dataclass(frozen=True, kw_only=True)
class ExternalModel(Checkpoint):
    """What is known of such a model. Its `card` has no metrics, and its test split is empty.

    `given`: the folder, hub id or name of timm by which it was opened. `name`: under which it is listed.
    `facts`: what is known of it, {name: value}, as text.
    """

    given: str
    name: str
    classes: tuple[str, ...]
    multi_label: bool
    facts: dict[str, str]

    @cached_property
    def dataset(self) -> Dataset:
        task = "multi-label, binary-class" if self.multi_label else "multi-class"
        return Dataset(GROUP, "Your models", "", task, self.classes, 3, {}, "", {}, {})

    @property
    def title(self) -> str:
        return self.name


class ExternalPredictor(Predictor):
    """Classifies pictures with such a model, at its own input size and with its own preprocessing."""

    checkpoint: ExternalModel

    def _open_model(self) -> explain.Explainer:
        return explain.Explainer(self.checkpoint.folder)

    def source(self, image: imaging.ImageInput) -> np.ndarray:
        """Convert a picture to the input of the model before its normalisation: uint8 (h, w, 3)."""
        return display.to_picture(self.explainer.preparation.open(image)[0])

    def read_upload(self, path: str | Path) -> np.ndarray | bytes:
        """The content of the file: another model may take the picture at another size."""
        self.source(path)
        return Path(path).read_bytes()

    def model_card(self) -> ModelCard:
        item = self.checkpoint
        return ModelCard(
            title=item.title, facts=item.facts, data="", metrics=[], classes=[], seeds="", seed_runs=[],
            calibration="", prediction_sets="", failure_count="", failures=[], limitations=LIMITATIONS,
        )  # fmt: skip


def open_models(sources: Iterable[str]) -> list[ExternalPredictor]:
    """Open models by folder, hub id or name of timm; one that is named twice is opened once.

    Raises:
        MedvitError: one of them is no image classifier, or its preprocessing is not usable here.
    """
    predictors: dict[str, ExternalPredictor] = {}
    for source in dict.fromkeys(sources):
        name = short = Path(source).resolve().name if Path(source).is_dir() else source
        number = 1
        while name in predictors:  # folders of the same name
            number += 1
            name = f"{short} ({number})"
        predictors[name] = _open(source, name)
    return list(predictors.values())


def _open(source: str, name: str) -> ExternalPredictor:
    folder = find_folder(source)
    if (folder / "card.json").is_file():
        raise MedvitError(
            f"The folder {source} is a checkpoint of medvit. Give the folder that holds it as "
            "<folder>/<dataset>/<model> with --checkpoints."
        )
    explainer = explain.Explainer(folder)
    height, width = explainer.preparation.input_size
    if max(height, width) > MAX_SIDE:
        raise MedvitError(
            f"The model {source} takes inputs of {width} x {height} pixels, more than {MAX_SIDE}."
        )
    explainer.preparation.check(source)
    classes = explainer.classes
    normalization = explainer.preparation.normalization
    item = ExternalModel(
        folder=folder,
        card={"model": name, "parameters": _parameters(explainer), "source_size": max(height, width)},
        preprocessing=imaging.Preprocessing(
            max(height, width), normalization.mean, normalization.std, normalization.rescale_factor
        ),
        test_logits=np.zeros((0, len(classes)), np.float16),
        test_labels=np.zeros(0, np.int64),
        given=source,
        name=name,
        classes=classes,
        multi_label=explainer.multi_label or len(classes) == 1,
        facts=_facts(source, explainer),
    )
    return ExternalPredictor(item, explainer)


def _parameters(explainer: explain.Explainer) -> int:
    return sum(weight.numel() for weight in explainer.model.parameters())


def _facts(source: str, explainer: explain.Explainer) -> dict[str, str]:
    structure, preparation = explainer.structure(), explainer.preparation
    classes = explainer.classes
    height, width = preparation.input_size
    mean, std = (", ".join(f"{x:g}" for x in values) for values in (
        preparation.normalization.mean, preparation.normalization.std,
    ))  # fmt: skip
    short = Path(source).name if Path(source).is_dir() else source
    names = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    attention = f"{structure.layers} layers" if structure.layers else f"{structure.problem}."
    return {
        "Model": f"{short}, {type(explainer.model).__name__}, {_parameters(explainer):,} parameters",
        "Input": f"{width} x {height} pixels; mean {mean}, standard deviation {std}",
        "Classes": f"{len(classes):,}: {names}",
        "Attention": attention,
        "Maps": ", ".join(explain.METHODS[name].title for name in explainer.methods()),
        "Test results": "none: the model was not tested here",
    }
