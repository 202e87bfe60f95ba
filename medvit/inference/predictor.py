"""From an image to everything the app shows about it, in one forward pass."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvit import explain, imaging
from medvit.checkpoint import DEFAULT_ROOT, Checkpoint, load_model
from medvit.checkpoint import load as load_checkpoint
from medvit.data import Dataset, settings
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import probabilities
from medvit.evaluation.model_card import ModelCard
from medvit.inference.batching import RequestBatcher, heatmap_lock
from medvit.reliability import tta as augmentation
from medvit.reliability.apply import InDistribution, Reliability


@dataclass(frozen=True)
class Prediction:
    """Prediction of a model for one image.

    `dataset`: what the model was trained on. `source`: the model's input before resizing, uint8 (s, s, 3);
    (h, w, 3) for a model of another program. `probabilities`: (C,); they sum to one unless the subset is
    multi-label. `recorded`: the forward pass behind it, None for predictions made in bulk.

    From trust.npz, None without it: `calibrated` (C,), temperature-scaled probabilities; `in_distribution`,
    the out-of-distribution check; `trust`, the fitted statistics themselves. `agreement`: fraction of the
    test-time augmentations that predict the same class, None without test-time augmentation.
    """

    dataset: Dataset
    model: str
    source: np.ndarray
    probabilities: np.ndarray
    recorded: explain.ForwardPass | None = None

    calibrated: np.ndarray | None = None
    in_distribution: InDistribution | None = None
    agreement: float | None = None
    trust: Reliability | None = None

    @property
    def subset(self) -> str:
        """Name of the dataset."""
        return self.dataset.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.dataset.classes

    @property
    def forward_pass(self) -> explain.ForwardPass:
        """The forward pass behind it, with the attentions of every layer."""
        assert self.recorded is not None, "predictions made in bulk record no forward pass"
        return self.recorded

    @property
    def display_probs(self) -> np.ndarray:
        """The probabilities (C,) to display: calibrated where available."""
        return self.probabilities if self.calibrated is None else self.calibrated

    @property
    def top(self) -> int:
        """Index of the most probable class."""
        return int(self.display_probs.argmax())

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.classes[self.top]

    def prediction_set(self, level: float | None = None) -> list[int] | None:
        """Return the conformal prediction set: classes, most probable first.

        The true class is in the set for a fraction `level` of images like the validation images. All classes
        are in it where validation is too small for the level. None without trust.npz, and for multi-label
        subsets.

        Args:
            level: coverage; None for the subset's default.
        """
        if self.trust is None or self.calibrated is None or not self.trust.has_prediction_sets:
            return None
        level = settings.of(self.subset).conformal_level if level is None else level
        members = self.trust.prediction_sets(self.calibrated[None], level, self.agreement is not None)[0]
        return [int(i) for i in np.argsort(-self.calibrated) if members[i]]

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as plain types.

        label, probabilities {class: p}, calibrated {class: p}, prediction_set {level, classes},
        in_distribution {score, threshold, accepted}, subset, model. What a checkpoint has no statistics for
        is None.
        """
        members, ood_check = self.prediction_set(), self.in_distribution
        level = settings.of(self.subset).conformal_level
        return {
            "label": self.label,
            "probabilities": self._by_class(self.probabilities),
            "calibrated": None if self.calibrated is None else self._by_class(self.calibrated),
            "prediction_set": None
            if members is None
            else {"level": level, "classes": [self.classes[i] for i in members]},
            "in_distribution": None
            if ood_check is None
            else {
                "score": ood_check.score,
                "threshold": ood_check.threshold,
                "accepted": ood_check.accepted,
            },
            "subset": self.subset,
            "model": self.model,
        }

    def _by_class(self, probs: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, map(float, probs), strict=True))


class Predictor:
    """Classifies images with one checkpoint. Thread-safe; threads share forward passes.

    Args:
        explainer: its model, where it is in memory already.
    """

    def __init__(self, checkpoint: Checkpoint, explainer: explain.Explainer | None = None):
        self.checkpoint = checkpoint
        self.trust = Reliability.of(checkpoint)
        self._lock = threading.Lock()
        self._explainer = explainer
        self._predict_recorded = RequestBatcher(self._run_recorded, threading.Lock())
        self._predict_plain = RequestBatcher(self.predict_many, threading.Lock())

    @property
    def explainer(self) -> explain.Explainer:
        """The model, for `medvit.explain`; read from disk at first use and again after `unload`.

        Raises:
            MedvitError: the weights do not fit the configuration, or are no longer there.
        """
        with self._lock:
            if self._explainer is None:
                self._explainer = self._open_model()
            return self._explainer

    def _open_model(self) -> explain.Explainer:
        return explain.Explainer(load_model(self.checkpoint.folder), self.checkpoint.preprocessing)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._explainer is not None

    def load(self) -> None:
        """Load the model; raises like `explainer`."""
        _ = self.explainer

    def unload(self) -> None:
        """Drop the model; its memory is freed once the running predictions are done."""
        with self._lock:
            self._explainer = None

    def __call__(self, image: imaging.ImageInput) -> dict[str, Any]:
        """Classify a picture of any size: a path, the bytes of a file, a Pillow image or a uint8 array.

        Returns:
            the prediction, see `Prediction.to_json`.

        Raises:
            MedvitError: the picture cannot be read.
        """
        return self._predict_plain(self.source(image)).to_json()

    def source(self, image: imaging.ImageInput) -> np.ndarray:
        """Convert a picture to the form of the training images: uint8 (s, s, 3); s is 28 if shipped."""
        grey = self.checkpoint.dataset.channels == 1
        return imaging.read_source(image, self.checkpoint.card["source_size"], grey)

    def read_upload(self, path: str | Path) -> np.ndarray | bytes:
        """What is kept of an uploaded picture: the argument for `source`, once it is known to be readable."""
        return self.source(path)

    def model_card(self) -> ModelCard:
        """The facts of the model as text."""
        return ModelCard.of(self.checkpoint)

    def predict(self, source: np.ndarray, tta: bool = False) -> Prediction:
        """Classify source pixels, uint8 (s, s, 3), as `source` returns them.

        Args:
            tta: also classify flipped and rotated copies, in the same batch, and combine the predictions.
        """
        if not tta:
            return self._predict_recorded(source)
        copies = augmentation.augment(imaging.to_tensor(source[None]), self.checkpoint.dataset.name)
        passes = self.explainer.many(copies)  # (V, 3, s, s), the image itself first
        return self._predictions(source[None], _logits(passes)[:, None], passes[:1])[0]

    def predict_many(self, sources: Sequence[np.ndarray]) -> list[Prediction]:
        """Classify source images, each uint8 (s, s, 3), without recording forward passes."""
        if len({source.shape for source in sources}) > 1:  # of a model whose inputs differ in size
            return [self.predict_many([source])[0] for source in sources]
        batch = np.stack(sources)
        logits = self.explainer.logits(imaging.to_tensor(batch)).numpy()
        return self._predictions(batch, logits, [None] * len(batch))

    def of_forward_pass(self, source: np.ndarray, forward_pass: explain.ForwardPass) -> Prediction:
        """Return the prediction of a forward pass of `explainer` over source pixels, uint8 (s, s, 3)."""
        return self._predictions(source[None], _logits([forward_pass]), [forward_pass])[0]

    def features(self, source: np.ndarray) -> np.ndarray:
        """Return the input of the classifier head, float32 (D,), for source pixels, uint8 (s, s, 3)."""
        return predict(self.explainer.model, self.checkpoint.preprocessing, source[None])[1][0]

    def heatmap(
        self, prediction: Prediction, method: str, options: explain.MapOptions | None = None
    ) -> np.ndarray:
        """Return the saliency map (gh, gw), one float per patch; see `Explainer.heatmap`.

        Raises:
            MedvitError: the method does not fit the model, or an option is out of range.
        """
        forward_pass = prediction.recorded or self.explainer(imaging.to_tensor(prediction.source[None]))
        with heatmap_lock:
            return self.explainer.heatmap(forward_pass, method, options)

    def methods(self) -> tuple[str, ...]:
        """Names of the saliency maps available for this model."""
        return self.explainer.methods()

    def unavailable(self) -> dict[str, str]:
        """{name of each map that does not fit this model: why not, a sentence}."""
        reasons = {name: self.explainer.why_not(name) for name in explain.METHODS}
        return {name: reason for name, reason in reasons.items() if reason}

    def _run_recorded(self, sources: list[np.ndarray]) -> list[Prediction]:
        passes = self.explainer.many(imaging.to_tensor(np.stack(sources)))
        return self._predictions(np.stack(sources), _logits(passes), passes)

    def _predictions(
        self,
        sources: np.ndarray,
        logits: np.ndarray,
        passes: Sequence[explain.ForwardPass | None],
    ) -> list[Prediction]:
        """Predictions for images (N, s, s, 3) from their logits (N, C).

        Logits (V, N, C) are those of V test-time augmentations, the images themselves first.
        """
        trust, subset, name = self.trust, self.checkpoint.dataset, self.checkpoint.model_name
        plain = logits[0] if logits.ndim == 3 else logits  # (N, C)
        probs = probabilities(plain, subset.multi_label)
        agreement: Iterable[float | None] = [None] * len(sources)
        if logits.ndim == 3:
            probs, agreement = augmentation.combine(logits, subset.multi_label)
        calibrated = trust.calibrated(logits, subset.multi_label) if trust else [None] * len(sources)
        ood_checks: Sequence[InDistribution | None] | None = trust.in_distribution(sources) if trust else None
        no_checks = [None] * len(sources)
        per_image = zip(sources, probs, passes, calibrated, ood_checks or no_checks, agreement, strict=True)
        return [
            Prediction(subset, name, source, prob, recorded, calibrated_prob, check, agreed, trust)
            for source, prob, recorded, calibrated_prob, check, agreed in per_image
        ]


def _logits(passes: list[explain.ForwardPass]) -> np.ndarray:
    """Logits (N, C) of forward passes over N images."""
    return np.stack([each.logits.numpy() for each in passes])


def load(subset: str, model: str, root: str | Path | None = None) -> Predictor:
    """Open a trained checkpoint by name: ``load("bloodmnist", "spt_lsa")("cell.png")``.

    Args:
        root: folder of the checkpoints, laid out as <root>/<subset>/<model>; the shipped ones by default.

    Raises:
        MedvitError: no such checkpoint, or a damaged one. The text lists those that exist.
    """
    root = Path(root or DEFAULT_ROOT)
    existing = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("[!.]*/[!.]*/card.json"))
    if f"{subset}/{model}" not in existing:
        raise MedvitError(
            f"There is no checkpoint {subset}/{model} in {root}. There are: {', '.join(existing) or 'none'}."
        )
    return Predictor(load_checkpoint(root / subset / model))
