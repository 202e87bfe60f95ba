"""From one image to everything the screen shows of it, in one forward pass."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvit import checkpoint, explain, images
from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError
from medvit.evaluation.metrics import probabilities


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `source`: the pixels it was given, uint8 (s, s, 3). `probabilities`: (C,), in the order of `classes`;
    they sum to
    one unless the subset is multi-label. `attentions`: float16 (layers, heads, T, T), class token first, or
    None where the model has no attention.
    """

    subset: str
    model: str
    classes: tuple[str, ...]
    source: np.ndarray
    probabilities: np.ndarray
    attentions: Tensor | None

    @property
    def top(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[self.top]

    def to_json(self) -> dict[str, Any]:
        """The answer as plain types: label, probabilities {class: p}, subset, model."""
        return {
            "label": self.label,
            "probabilities": dict(zip(self.classes, map(float, self.probabilities), strict=True)),
            "subset": self.subset,
            "model": self.model,
        }


class Predictor:
    """A checkpoint, ready to be asked. Safe to share between threads."""

    def __init__(self, found: Checkpoint):
        self.checkpoint = found
        self._lock = threading.RLock()

    def __call__(self, image: images.Picture) -> dict[str, Any]:
        """Classify a picture of any size: a path, the bytes of a file, a Pillow image or a uint8 array.

        Returns:
            label, probabilities {class: p}, subset, model.

        Raises:
            MedvitError: the picture cannot be read.
        """
        return self.predict(self.source(image)).to_json()

    def source(self, image: images.Picture) -> np.ndarray:
        """The picture in the form of the training images: uint8 (s, s, 3), s = 28 for what is shipped."""
        grey = self.checkpoint.subset.channels == 1
        return images.to_source(images.open_image(image), self.checkpoint.card["source_size"], grey)

    @torch.inference_mode()
    def predict(self, source: np.ndarray) -> Prediction:
        """Classify source pixels, uint8 (s, s, 3), as `source` gives them."""
        model = self._model()
        wanted = {"output_attentions": True} if explain.has_attention(model) else {}
        with self._lock:  # a Grad-CAM in another thread has hooks on the model
            output = model(pixel_values=self._input(source), **wanted)
        attentions = torch.cat(output.attentions).half() if wanted else None  # (layers, heads, T, T)
        subset = self.checkpoint.subset
        shares = probabilities(output.logits.numpy(), subset.multi_label)[0]
        return Prediction(subset.name, self.checkpoint.model_name, subset.classes, source, shares, attentions)

    @torch.inference_mode()
    def predict_many(self, sources: np.ndarray) -> list[Prediction]:
        """Classify many source images, uint8 (N, s, s, 3), in one forward pass and without attentions."""
        pixels = self.checkpoint.preprocessing(images.to_tensor(sources))
        with self._lock:
            output = self._model()(pixel_values=pixels)
        subset = self.checkpoint.subset
        shares = probabilities(output.logits.numpy(), subset.multi_label)  # (N, C)
        names = (subset.name, self.checkpoint.model_name, subset.classes)
        return [Prediction(*names, *pair, None) for pair in zip(sources, shares, strict=True)]

    def heatmap(
        self,
        prediction: Prediction,
        method: str,
        layer: int = -1,
        head: int | None = None,
        target: int | None = None,
    ) -> np.ndarray:
        """Where the model looked: a float map (g, g) in 0..1, one value a patch.

        Args:
            method: one of `explain.METHODS` that `explain.methods_for` allows for this model.
            layer, head: for "attention"; `head` None is the mean over heads.
            target: class index for "grad_cam"; None is the predicted class.

        Raises:
            MedvitError: the method does not fit the model, or layer, head or class is out of range.
        """
        target = prediction.top if target is None else target
        if not 0 <= target < len(prediction.classes):
            raise MedvitError(
                f"There is no class {target}; {prediction.subset} has {len(prediction.classes)}."
            )
        with self._lock:
            return explain.heatmap(
                self._model(),
                self._input(prediction.source),
                prediction.attentions,
                method,
                layer,
                head,
                target,
            )

    def methods(self) -> tuple[str, ...]:
        """The maps that this model can give."""
        return explain.methods_for(self._model())

    def _model(self):
        with self._lock:
            return self.checkpoint.model

    def _input(self, source: np.ndarray) -> Tensor:
        return self.checkpoint.preprocessing(images.to_tensor(source[None]))


def load(subset: str, model: str, root: str | Path | None = None) -> Predictor:
    """Open a trained checkpoint by name: ``load("bloodmnist", "spt_lsa")("cell.png")``.

    Args:
        root: folder of the checkpoints, laid out as <root>/<subset>/<model>; the shipped ones by default.

    Raises:
        MedvitError: no such checkpoint, or a damaged one. The text lists those that exist.
    """
    root = Path(root or checkpoint.DEFAULT_ROOT)
    existing = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("[!.]*/[!.]*/card.json"))
    if f"{subset}/{model}" not in existing:
        raise MedvitError(
            f"There is no checkpoint {subset}/{model} in {root}. There are: {', '.join(existing) or 'none'}."
        )
    return Predictor(checkpoint.load(root / subset / model))
