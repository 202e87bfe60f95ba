"""From one image to everything the screen shows of it, in one forward pass."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvit import checkpoint, explain, imaging
from medvit.checkpoint import Checkpoint
from medvit.data import settings
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import probabilities
from medvit.inference.batching import RequestBatcher
from medvit.reliability import ood
from medvit.reliability import tta as augmentation
from medvit.reliability.fit import InDistribution, Trust


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    `source`: the pixels it was given, uint8 (s, s, 3). `probabilities`: (C,), in the order of `classes`;
    they sum to one unless the subset is multi-label. `forward_pass`: what `seen` gives, or None where it was
    one of many.

    From the checkpoint's trust.npz, and None without one: `calibrated` (C,), probabilities that are right as
    often as they say; `in_distribution`, whether the image looks like the subset. `agreement`: the share of
    views that agree with the answer, where the model was asked for several. `trust`: what they come from.
    """

    subset: str
    model: str
    classes: tuple[str, ...]
    source: np.ndarray
    probabilities: np.ndarray
    forward_pass: explain.ForwardPass | None = None

    calibrated: np.ndarray | None = None
    in_distribution: InDistribution | None = None
    agreement: float | None = None
    trust: Trust | None = None

    @property
    def seen(self) -> explain.ForwardPass:
        """The pass behind it, with the attention of every layer."""
        assert self.forward_pass is not None, "predict_many keeps nothing for maps"
        return self.forward_pass

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
        if self.trust is None or self.calibrated is None or not self.trust.has_prediction_sets:
            return None
        level = settings.of(self.subset).conformal_level if level is None else level
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
                "level": settings.of(self.subset).conformal_level,
                "classes": [self.classes[i] for i in members],
            },
            "in_distribution": None
            if seen is None
            else {"score": seen.score, "threshold": seen.threshold, "accepted": seen.accepted},
            "subset": self.subset,
            "model": self.model,
        }

    def _by_class(self, probs: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, map(float, probs), strict=True))


class Predictor:
    """A checkpoint, ready to be asked. Safe to share between threads."""

    def __init__(self, found: Checkpoint):
        self.checkpoint = found
        self.trust = Trust.of(found)
        self._lock = threading.Lock()
        self._explainer: explain.Explainer | None = None
        self._together = RequestBatcher(self._predict_together, threading.Lock())
        self._plainly = RequestBatcher(self._predict_plainly, threading.Lock())

    @property
    def explainer(self) -> explain.Explainer:
        """The model behind it, for `medvit.explain`; read from disk at first use, and again after `unload`.

        Raises:
            MedvitError: the weights do not fit the configuration, or are no longer there.
        """
        with self._lock:
            if self._explainer is None:
                model = checkpoint.load_model(self.checkpoint.folder)
                self._explainer = explain.Explainer(model, self.checkpoint.preprocessing)
            return self._explainer

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._explainer is not None

    def unload(self) -> None:
        """Let go of the model; its memory is free once those who are asking it have their answer."""
        with self._lock:
            self._explainer = None

    def __call__(self, image: imaging.Picture) -> dict[str, Any]:
        """Classify a picture of any size: a path, the bytes of a file, a Pillow image or a uint8 array.

        Returns:
            the answer, as `Prediction.to_json` gives it.

        Raises:
            MedvitError: the picture cannot be read.
        """
        return self._plainly(self.source(image)).to_json()

    def source(self, image: imaging.Picture) -> np.ndarray:
        """The picture in the form of the training images: uint8 (s, s, 3), s = 28 for what is shipped."""
        grey = self.checkpoint.subset.channels == 1
        return imaging.to_source(imaging.open_image(image), self.checkpoint.card["source_size"], grey)

    def predict(self, source: np.ndarray, tta: bool = False) -> Prediction:
        """Classify source pixels, uint8 (s, s, 3), as `source` gives them.

        Callers in several threads share forward passes.

        Args:
            with_views: ask for mirrored and turned views as well, in the same batch, and combine the answers.
        """
        if not tta:
            return self._together(source)
        several = augmentation.make(
            imaging.to_tensor(source[None]), self.checkpoint.subset.name
        )  # (V, 3, s, s)
        passes = self.explainer.many(several)  # the image itself first
        logits, features = _outputs(passes)
        return self._predictions(source[None], logits[:, None], features[:1], passes[:1])[0]

    def _predict_together(self, sources: list[np.ndarray]) -> list[Prediction]:
        passes = self.explainer.many(imaging.to_tensor(np.stack(sources)))
        return self._predictions(np.stack(sources), *_outputs(passes), passes)

    def _predict_plainly(self, sources: list[np.ndarray]) -> list[Prediction]:
        return self.predict_many(np.stack(sources))

    def predict_many(self, sources: np.ndarray) -> list[Prediction]:
        """Classify many source images, uint8 (N, s, s, 3), keeping nothing for maps."""
        logits, features = predict(self.explainer.model, self.checkpoint.preprocessing, sources)
        return self._predictions(sources, logits, features, [None] * len(sources))

    def features(self, source: np.ndarray) -> np.ndarray:
        """What the classifier is given of source pixels, uint8 (s, s, 3): float32 (D,)."""
        return predict(self.explainer.model, self.checkpoint.preprocessing, source[None])[1][0]

    def _predictions(
        self,
        sources: np.ndarray,
        logits: np.ndarray,
        features: np.ndarray,
        passes: Sequence[explain.ForwardPass | None],
    ) -> list[Prediction]:
        """All that is said of images (N, s, s, 3), from their features (N, D) and logits (N, C).

        Logits (V, N, C) are those of several views, the images themselves first.
        """
        found, trust, subset = self.checkpoint, self.trust, self.checkpoint.subset
        plain = logits[0] if logits.ndim == 3 else logits  # (N, C)
        probs = probabilities(plain, subset.multi_label)
        agreement: Iterable[float | None] = [None] * len(sources)
        if logits.ndim == 3:
            probs, agreement = augmentation.combine(logits, subset.multi_label)
        calibrated = trust.calibrated(logits, subset.multi_label) if trust else [None] * len(sources)
        known = self._in_distribution(sources, plain, features)
        names = subset.name, found.model_name, subset.classes
        each = zip(sources, probs, passes, calibrated, known, agreement, strict=True)
        return [
            Prediction(*names, source, share, seen, sure, looks, agree, trust)
            for source, share, seen, sure, looks, agree in each
        ]

    def _in_distribution(
        self, sources: np.ndarray, logits: np.ndarray, features: np.ndarray
    ) -> list[InDistribution] | list[None]:
        """Whether images look like the subset, to this model or to the shared one, as trust.npz has it."""
        trust = self.trust
        if trust and not trust.reads_shared:
            reading = ood.ModelOutputs(features, logits, np.ones(logits.shape[1], bool))
        elif trust and (shared := trust.shared):
            own = shared.own(self.checkpoint.subset.name)
            reading = ood.read(shared.model, shared.preprocessing, sources, own)
        else:
            return [None] * len(sources)
        return [InDistribution(float(s), trust.foreign_threshold) for s in trust.foreign_scores(reading)]

    def heatmap(
        self, prediction: Prediction, method: str, choice: explain.MapOptions | None = None
    ) -> np.ndarray:
        """Where the model looked: a float map (gh, gw), one value a patch; see `explain.heatmap`.

        Raises:
            MedvitError: the method does not fit the model, or the choice is out of range.
        """
        seen = prediction.forward_pass or self.explainer(imaging.to_tensor(prediction.source[None]))
        return explain.heatmap(self.explainer, seen, method, choice)

    def methods(self) -> tuple[str, ...]:
        """The maps that this model can give."""
        return explain.methods_for(self.explainer)


def _outputs(passes: list[explain.ForwardPass]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and features (N, D) of passes over N images."""
    logits = np.stack([seen.logits.numpy() for seen in passes])
    return logits, np.stack([seen.features.numpy() for seen in passes if seen.features is not None])


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
