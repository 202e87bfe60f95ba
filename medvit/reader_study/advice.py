"""The advice of a model: what it says about the images of a test split, or about drawings for practice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.data import synthetic
from medvit.evaluation.metrics import probabilities
from medvit.inference.predictor import Predictor
from medvit.reliability.apply import Reliability

DRAWINGS = 60  # to practise on
RIGHT_IN_PRACTICE = 0.6


@dataclass(frozen=True)
class Advice:
    """The model's answers to the images of a study.

    `classes`: names. `labels`: true classes (N,). `probs`: (N, C). `calibrated`: whether they are, for which
    the checkpoint needs statistics. `sets`: membership in the prediction sets, bool (N, C), None without
    statistics. `level`: coverage of the sets.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    probs: np.ndarray
    sets: np.ndarray | None
    level: float
    calibrated: bool = True

    @property
    def predicted(self) -> np.ndarray:
        """The answers, class indices (N,)."""
        return self.probs.argmax(1)

    def prediction_set(self, index: int) -> list[int] | None:
        """Classes in the prediction set of an image, most probable first; None without statistics."""
        if self.sets is None:
            return None
        return [int(i) for i in np.argsort(-self.probs[index], kind="stable") if self.sets[index, i]]


def of_test_split(checkpoint: Checkpoint) -> Advice:
    """What the model says about its test split, from test.npz; the model itself is not needed."""
    logits = checkpoint.test_logits.astype(np.float32)
    trust, level = Reliability.of(checkpoint), checkpoint.dataset.settings.conformal_level
    probs = trust.calibrated(logits) if trust else probabilities(logits)
    sets = _sets(trust, probs, level)
    is_calibrated = trust is not None and trust.is_calibrated
    return Advice(checkpoint.dataset.classes, checkpoint.test_labels, probs, sets, level, is_calibrated)


def of_drawings(predictor: Predictor) -> Advice:
    """What the model says about synthetic examples. A drawing has no true class, so these are made up.

    The model is right about RIGHT_IN_PRACTICE of them.
    """
    dataset = predictor.checkpoint.dataset
    predictions = predictor.predict_many(list(drawings(dataset.name, range(DRAWINGS))))
    probs = np.stack([prediction.display_probs for prediction in predictions])
    predicted, level = probs.argmax(1), dataset.settings.conformal_level
    rng, count = np.random.default_rng(0), len(dataset.classes)
    labels = np.where(
        rng.permutation(DRAWINGS) < RIGHT_IN_PRACTICE * DRAWINGS,
        predicted,
        (predicted + rng.integers(1, count, DRAWINGS)) % count,
    )
    sets = _sets(predictor.trust, probs, level)
    return Advice(dataset.classes, labels, probs, sets, level, predictor.trust is not None)


def _sets(trust: Reliability | None, probs: np.ndarray, level: float) -> np.ndarray | None:
    return trust.prediction_sets(probs, level) if trust and trust.has_prediction_sets else None


def drawings(dataset: str, numbers: Sequence[int]) -> np.ndarray:
    """The synthetic examples of these numbers, uint8 (N, s, s, 3)."""
    return np.stack([synthetic.draw(dataset, number) for number in numbers])
