"""Out-of-distribution (OOD) scores: whether an image looks like those of a dataset; higher is more so.

The score is minus the squared Mahalanobis distance to the nearest class mean (Lee et al., 2018), in the
features of the OOD reference model: a small CNN trained on all shipped datasets and on synthetic outliers
(`medvit.training.ood_reference`), which therefore keeps the features that tell them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvit import checkpoint, files
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.one_vs_rest import OneVsRest
from medvit.imaging.preprocess import Preprocessing
from medvit.slow_imports import sklearn_covariance

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

FOLDER = "_ood_reference"  # beside the folders of the datasets


@dataclass(frozen=True)
class OodReference:
    """The OOD reference model."""

    model: PreTrainedModel
    preprocessing: Preprocessing
    sha256: str

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features (N, D) of source images, uint8 (N, s, s) or (N, s, s, 3)."""
        return predict(self.model, self.preprocessing, images)[1]


@cache
def reference(root: Path) -> OodReference | None:
    """Open the reference model of a folder of checkpoints, else the shipped one; None without either.

    One that is damaged is left out with a warning.
    """
    for folder in (root / FOLDER, checkpoint.DEFAULT_ROOT / FOLDER):
        if (folder / checkpoint.WEIGHTS).is_file():
            try:
                preprocessing = Preprocessing.read(folder / "preprocessor_config.json")
                sha256 = files.sha256(folder / checkpoint.WEIGHTS)
                return OodReference(checkpoint.load_model(folder), preprocessing, sha256)
            except MedvitError as error:
                _log.warning("The OOD reference model is left out. %s", error)
    return None


def fit(features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Fit the score to training images; multi-label images form one class.

    Args:
        features: (N, D). labels: (N,), or (N, C) of 0 and 1.

    Returns:
        ood_whitening (D, D) and the whitened class means, ood_means (C, D), float32.
    """
    groups = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    classes, index = np.unique(groups, return_inverse=True)
    means = np.stack([features[groups == c].mean(0) for c in classes])
    covariance, _ = sklearn_covariance.ledoit_wolf(features - means[index], assume_centered=True)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + 1e-9 * np.eye(len(covariance))))
    arrays = {"ood_means": means @ whitening, "ood_whitening": whitening}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def score(features: np.ndarray, fitted: Mapping[str, np.ndarray]) -> np.ndarray:
    """The score (N,) of features (N, D), from the arrays of `fit`."""
    whitened = features @ fitted["ood_whitening"]
    return -((whitened[:, None] - fitted["ood_means"]) ** 2).sum(2).min(1)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve of scores of in-distribution images (N,) against those of outliers (M,)."""
    truth = np.repeat([True, False], [len(inside), len(outside)])
    return float(OneVsRest.binary(truth, np.concatenate([inside, outside])).auc[0])
