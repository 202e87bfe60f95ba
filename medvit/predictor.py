"""From one image to everything the screen shows of it, in one forward pass."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvit import checkpoint, explain, images
from medvit.batcher import Batcher
from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError
from medvit.evaluation.features import features
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.predict import predict_logits


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `source`: the pixels it was given, uint8 (s, s, 3). `probabilities`: (C,), in the order of `classes`;
    they sum to one unless the subset is multi-label. `forward_pass`: what `seen` gives, or None where it was
    one of many.
    """

    subset: str
    model: str
    classes: tuple[str, ...]
    source: np.ndarray
    probabilities: np.ndarray
    forward_pass: explain.Seen | None = None

    @property
    def seen(self) -> explain.Seen:
        """The pass behind it, with the attention of every layer."""
        assert self.forward_pass is not None, "predict_many keeps nothing for maps"
        return self.forward_pass

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
        self._lock = threading.Lock()
        self._explainer: explain.Explainer | None = None
        self._together = Batcher(self._predict_together, threading.RLock())

    @property
    def explainer(self) -> explain.Explainer:
        """The model behind it, for `medvit.explain`; read from disk at first use."""
        with self._lock:
            if self._explainer is None:
                self._explainer = explain.Explainer(self.checkpoint.model, self.checkpoint.preprocessing)
            return self._explainer

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

    def predict(self, source: np.ndarray) -> Prediction:
        """Classify source pixels, uint8 (s, s, 3), as `source` gives them.

        Callers in several threads share forward passes.
        """
        return self._together(source)

    def _predict_together(self, sources: list[np.ndarray]) -> list[Prediction]:
        subset = self.checkpoint.subset
        passes = self.explainer.many(images.to_tensor(np.stack(sources)))
        shares = probabilities(np.stack([seen.logits.numpy() for seen in passes]), subset.multi_label)
        return [
            Prediction(subset.name, self.checkpoint.model_name, subset.classes, *answer)
            for answer in zip(sources, shares, passes, strict=True)
        ]

    def features(self, source: np.ndarray) -> np.ndarray:
        """What the classifier is given of source pixels, uint8 (s, s, 3): float32 (D,)."""
        return features(self.explainer.model, self.checkpoint.preprocessing, source[None])[0]

    def predict_many(self, sources: np.ndarray) -> list[Prediction]:
        """Classify many source images, uint8 (N, s, s, 3), in one pass that keeps nothing for maps."""
        found = self.checkpoint
        logits = predict_logits(found.model, found.preprocessing, sources, batch_size=len(sources))
        shares = probabilities(logits, found.subset.multi_label)  # (N, C)
        names = (found.subset.name, found.model_name, found.subset.classes)
        return [Prediction(*names, *pair) for pair in zip(sources, shares, strict=True)]

    def heatmap(
        self, prediction: Prediction, method: str, choice: explain.Choice | None = None
    ) -> np.ndarray:
        """Where the model looked: a float map (gh, gw), one value a patch; see `explain.heatmap`.

        Raises:
            MedvitError: the method does not fit the model, or the choice is out of range.
        """
        seen = prediction.forward_pass or self.explainer(images.to_tensor(prediction.source[None]))
        return explain.heatmap(self.explainer, seen, method, choice)

    def methods(self) -> tuple[str, ...]:
        """The maps that this model can give."""
        return explain.methods_for(self.explainer)


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
