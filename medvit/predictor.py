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
from medvit.evaluation import conformal, foreign, views
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.trust import InDistribution, Trust


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `source`: the pixels it was given, uint8 (s, s, 3). `probabilities`: (C,), in the order of `classes`;
    they sum to one unless the subset is multi-label. `attentions`: float16 (layers, heads, T, T), class token
    first, or None where the model has no attention.

    From the checkpoint's trust.npz, and None without one: `calibrated` (C,), probabilities that are right as
    often as they say; `in_distribution`, whether the image looks like the subset. `agreement`: the share of
    views that agree with the answer, where the model was asked for several.
    """

    subset: str
    model: str
    classes: tuple[str, ...]
    source: np.ndarray
    probabilities: np.ndarray
    attentions: Tensor | None
    calibrated: np.ndarray | None = None
    in_distribution: InDistribution | None = None
    agreement: float | None = None
    trust: Trust | None = None

    @property
    def shown(self) -> np.ndarray:
        """The probabilities (C,) to show: calibrated where possible."""
        return self.probabilities if self.calibrated is None else self.calibrated

    @property
    def top(self) -> int:
        return int(self.shown.argmax())

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.classes[self.top]

    def prediction_set(self, level: float | None = None) -> list[int] | None:
        """The classes, most probable first, one of which is the true one in a share `level` of such images.

        All of them where validation was too small for the level. None without a trust.npz, and for a
        multi-label subset.

        Args:
            level: the subset's default where it is None.
        """
        if self.trust is None or self.calibrated is None or not self.trust.has_sets:
            return None
        level = conformal.default_level(self.subset) if level is None else level
        members = self.trust.sets(self.calibrated[None], level, self.agreement is not None)[0]
        return [int(i) for i in np.argsort(-self.calibrated) if members[i]]

    def to_json(self) -> dict[str, Any]:
        """The answer as plain types.

        label, probabilities {class: p}, calibrated {class: p}, prediction_set {level, classes},
        in_distribution {score, threshold, accepted}, subset, model. What a checkpoint cannot give is None.
        """
        seen, members = self.in_distribution, self.prediction_set()
        return {
            "label": self.label,
            "probabilities": self._by_class(self.probabilities),
            "calibrated": None if self.calibrated is None else self._by_class(self.calibrated),
            "prediction_set": None
            if members is None
            else {
                "level": conformal.default_level(self.subset),
                "classes": [self.classes[i] for i in members],
            },
            "in_distribution": None
            if seen is None
            else {"score": seen.score, "threshold": seen.threshold, "accepted": seen.accepted},
            "subset": self.subset,
            "model": self.model,
        }

    def _by_class(self, shares: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, map(float, shares), strict=True))


class Predictor:
    """A checkpoint, ready to be asked. Safe to share between threads."""

    def __init__(self, found: Checkpoint):
        self.checkpoint = found
        self.trust = Trust.of(found)
        self._lock = threading.RLock()

    def __call__(self, image: images.Picture) -> dict[str, Any]:
        """Classify a picture of any size: a path, the bytes of a file, a Pillow image or a uint8 array.

        Returns:
            the answer, as `Prediction.to_json` gives it.

        Raises:
            MedvitError: the picture cannot be read.
        """
        return self.predict(self.source(image)).to_json()

    def source(self, image: images.Picture) -> np.ndarray:
        """The picture in the form of the training images: uint8 (s, s, 3), s = 28 for what is shipped."""
        grey = self.checkpoint.subset.channels == 1
        return images.to_source(images.open_image(image), self.checkpoint.card["source_size"], grey)

    @torch.inference_mode()
    def predict(self, source: np.ndarray, with_views: bool = False) -> Prediction:
        """Classify source pixels, uint8 (s, s, 3), as `source` gives them.

        Args:
            with_views: ask for mirrored and turned views as well, in the same batch, and combine the answers.
        """
        model, trust, subset = self._model(), self.trust, self.checkpoint.subset
        wanted: dict[str, bool] = {"output_attentions": True} if explain.has_attention(model) else {}
        if trust and not trust.reads_shared:
            wanted["output_hidden_states"] = True
        pixels = images.to_tensor(source[None])
        if with_views:
            pixels = views.make(pixels, subset.name)  # (V, 3, s, s), the image itself first
        with self._lock:  # a Grad-CAM in another thread has hooks on the model
            output = model(pixel_values=self.checkpoint.preprocessing(pixels), **wanted)
        attentions = None
        if "output_attentions" in wanted:
            attentions = torch.cat([layer[:1] for layer in output.attentions]).half()  # (layers, heads, T, T)
        logits = output.logits.numpy()  # (V, C)
        asked = logits[:, None] if with_views else logits
        calibrated = trust.calibrated(asked, subset.multi_label)[0] if trust else None
        shares, agreement = probabilities(logits, subset.multi_label)[0], None
        if with_views:
            together, agree = views.combine(asked, subset.multi_label)
            shares, agreement = together[0], float(agree[0])
        return Prediction(
            subset.name, self.checkpoint.model_name, subset.classes, source, shares, attentions,
            calibrated, self._in_distribution(source, output), agreement, trust,
        )  # fmt: skip

    def _in_distribution(self, source: np.ndarray, output) -> InDistribution | None:
        """Whether the image looks like the subset, from the pass that was made or from the shared model."""
        trust = self.trust
        if trust is None:
            return None
        if not trust.reads_shared:
            logits = output.logits[:1].numpy()
            features = foreign.penultimate(self._model(), output)[:1].numpy()
            reading = foreign.Reading(features, logits, np.ones(logits.shape[1], bool))
        elif trust.shared is None:
            return None
        else:
            pixels = trust.shared.preprocessing(images.to_tensor(source[None]))
            reading = foreign.read(trust.shared.model, pixels, trust.shared.own(self.checkpoint.subset.name))
        return InDistribution(float(trust.foreign_scores(reading)[0]), trust.foreign_threshold)

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
