"""Apply what trust.npz holds: calibration, prediction sets, the out-of-distribution check, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError
from medvit.reliability import calibration, conformal, ood, operating_point


@dataclass(frozen=True)
class InDistribution:
    """The OOD score of an image, and the threshold from which it counts as one of the dataset."""

    score: float
    threshold: float

    @property
    def accepted(self) -> bool:
        return self.score >= self.threshold


@dataclass(frozen=True)
class Reliability:
    """The content of a checkpoint's trust.npz. `root`: of the checkpoints, for the OOD reference model."""

    arrays: Mapping[str, np.ndarray]
    root: Path

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Reliability | None:
        """That of a checkpoint; None where it has none that was fitted to its weights."""
        return None if checkpoint.trust is None else cls(checkpoint.trust, checkpoint.folder.parent.parent)

    def calibrated(self, logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
        """Logits (N, C), or (V, N, C) of V test-time augmentations, to calibrated probabilities (N, C)."""
        plain, tta = self.arrays["temperature"]
        return calibration.calibrated(logits, tta if logits.ndim == 3 else plain, multi_label)

    @property
    def is_calibrated(self) -> bool:
        """Whether the temperature differs from one; where validation is too small, it may not."""
        plain, _ = self.arrays["temperature"]
        return not np.allclose(plain, (calibration.UNIT_OFFSET, 0))

    @property
    def has_prediction_sets(self) -> bool:
        """Whether there are prediction sets: not for a multi-label task."""
        return "nonconformity_scores" in self.arrays

    def fitted_on(self, tta: bool = False) -> int:
        """The number of validation images behind the prediction sets."""
        return len(self._nonconformity_scores(tta))

    def prediction_sets(self, probs: np.ndarray, level: float, tta: bool = False) -> np.ndarray:
        """Which classes belong to the prediction set, bool (N, C), of calibrated probabilities (N, C).

        All classes do where validation is too small for the level.

        Raises:
            MedvitError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise MedvitError(f"The level of a prediction set is between 0 and 1, such as 0.95, not {level}.")
        return conformal.prediction_sets(probs, conformal.quantile(self._nonconformity_scores(tta), level))

    def _nonconformity_scores(self, tta: bool) -> np.ndarray:
        return self.arrays["nonconformity_scores_tta" if tta else "nonconformity_scores"]

    @cached_property
    def ood_reference(self) -> ood.OodReference | None:
        """The OOD reference model that the check was fitted with; None where it is absent, or another one."""
        reference = ood.reference(self.root)
        fitted_with = str(self.arrays.get("ood_reference", ""))
        return reference if reference and reference.sha256 == fitted_with else None

    @property
    def ood_threshold(self) -> float:
        """The lowest score of an image that counts as in-distribution."""
        return float(self.arrays["ood_threshold"])

    def ood_scores(self, images: np.ndarray) -> np.ndarray:
        """Scores (N,) of source images, uint8 (N, s, s[, 3]); there must be an `ood_reference`."""
        assert self.ood_reference is not None
        return ood.score(self.ood_reference.features(images), self.arrays)

    def in_distribution(self, images: np.ndarray) -> list[InDistribution] | None:
        """Check source images, uint8 (N, s, s[, 3]); None without an `ood_reference`."""
        if self.ood_reference is None:
            return None
        return [InDistribution(float(score), self.ood_threshold) for score in self.ood_scores(images)]

    @property
    def thresholds(self) -> dict[str, float]:
        """{preset: threshold on the calibrated probability of the positive class}; for two classes only."""
        if "thresholds" not in self.arrays:
            return {}
        return dict(zip(operating_point.PRESETS, map(float, self.arrays["thresholds"]), strict=True))
