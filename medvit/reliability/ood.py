"""Whether an image looks like those of a subset at all: six scores, higher for images that do.

They read a model's features and logits. The model is the checkpoint itself, or the shared model
(`medvit.training.shared`), which knows all five subsets. Which of both, and which score, is chosen for each
checkpoint on validation images and drawn pictures.

scikit-learn has the covariance, the neighbours and the components; pytorch-ood offers the scores as well, but
around data loaders and with a state that cannot be kept as plain arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from medvit import checkpoint, files
from medvit.errors import MedvitError
from medvit.evaluation.embedding import unit
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import probabilities
from medvit.imaging.preprocess import Preprocessing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARED = "_shared"  # beside the folders of the subsets
NEIGHBOURS = 10
BANK = 500  # training images that the nearest neighbours are sought among


@dataclass(frozen=True)
class ModelOutputs:
    """What a model gives for N images.

    `features` (N, D): what its classifier was given. `logits` (N, K). `own`, bool (K,): which of the K
    classes are those of the subset in question.
    """

    features: np.ndarray
    logits: np.ndarray
    own: np.ndarray


def read(
    model: PreTrainedModel, preprocessing: Preprocessing, images: np.ndarray, own: np.ndarray | None = None
) -> ModelOutputs:
    """Read source images, uint8 (N, s, s[, 3]); `own`: all classes where it is None."""
    logits, features = predict(model, preprocessing, images)
    return ModelOutputs(features, logits, np.ones(logits.shape[1], bool) if own is None else own)


@dataclass(frozen=True)
class OodReference:
    """The shared model, opened."""

    model: PreTrainedModel
    preprocessing: Preprocessing
    sha256: str

    def own(self, subset: str) -> np.ndarray | None:
        """bool (K,): its classes that are those of a subset; None where it does not know the subset."""
        names: dict = self.model.config.id2label  # type: ignore[assignment]
        mine = np.array([name.startswith(f"{subset}: ") for name in names.values()])
        return mine if mine.any() else None


@cache
def shared(root: Path) -> OodReference | None:
    """The shared model below a root of checkpoints, else the one that ships; None where there is neither."""
    for folder in (root / SHARED, checkpoint.DEFAULT_ROOT / SHARED):
        if (folder / checkpoint.WEIGHTS).is_file():
            text = (folder / "preprocessor_config.json").read_text()
            model = checkpoint.load_model(folder)
            return OodReference(
                model, Preprocessing.from_json(text), files.sha256(folder / checkpoint.WEIGHTS)
            )
    return None


Arrays = Mapping[str, np.ndarray]


def _max_softmax(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """Hendrycks and Gimpel, 2017: the largest probability."""
    return probabilities(r.logits)[:, r.own].max(1)


def _energy(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """Liu et al., 2020: minus the energy, at temperature one."""
    from scipy.special import logsumexp

    return logsumexp(r.logits[:, r.own], axis=1)


def _fit_mahalanobis(r: ModelOutputs, labels: np.ndarray, head: nn.Linear) -> dict[str, np.ndarray]:
    from sklearn.covariance import ledoit_wolf

    groups = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    means = np.stack([r.features[groups == c].mean(0) for c in np.unique(groups)])
    centred = r.features - means[np.searchsorted(np.unique(groups), groups)]
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance + 1e-9 * np.eye(len(covariance))))
    return {"means": means @ whiten, "whiten": whiten}


def _mahalanobis(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """Lee et al., 2018: minus the squared distance to the nearest class."""
    white = r.features @ known["whiten"]
    return -((white[:, None] - known["means"][None]) ** 2).sum(2).min(1)


def _fit_neighbours(r: ModelOutputs, labels: np.ndarray, head: nn.Linear) -> dict[str, np.ndarray]:
    return {"bank": unit(r.features[:BANK]).astype(np.float16)}


def _neighbours(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """Sun et al., 2022: the cosine with the tenth nearest training image, ranking as the distance does."""
    near = unit(r.features) @ known["bank"].astype(np.float32).T  # (N, BANK), cosines
    k = min(NEIGHBOURS, near.shape[1])
    return np.partition(near, -k, axis=1)[:, -k]


def _fit_vim(r: ModelOutputs, labels: np.ndarray, head: nn.Linear) -> dict[str, np.ndarray]:
    weight, bias = (p.detach().float().cpu().numpy() for p in (head.weight, head.bias))
    origin = -np.linalg.pinv(weight) @ bias
    _, _, axes = np.linalg.svd(r.features - origin)  # all axes, even of few images
    rest = axes[len(axes) // 2 :].T  # the half of the directions in which training images differ least
    residual = np.linalg.norm((r.features - origin) @ rest, axis=1)
    alpha = r.logits[:, r.own].max(1).mean() / residual.mean().clip(1e-9)
    return {"origin": origin, "rest": rest, "alpha": np.array(alpha)}


def _vim(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """Wang et al., 2022: minus the energy, less what the features hold beyond the main directions."""
    residual = np.linalg.norm((r.features - known["origin"]) @ known["rest"], axis=1)
    return _energy(known, r) - known["alpha"] * residual


def _odds(known: Arrays, r: ModelOutputs) -> np.ndarray:
    """How much likelier the subset's own classes are than all others; for the shared model alone."""
    from scipy.special import logsumexp

    return logsumexp(r.logits[:, r.own], axis=1) - logsumexp(r.logits[:, ~r.own], axis=1)


def _nothing(r: ModelOutputs, labels: np.ndarray, head: nn.Linear) -> dict[str, np.ndarray]:
    return {}


SCORES: dict[str, tuple[Callable, Callable]] = {
    "max softmax": (_nothing, _max_softmax),
    "energy": (_nothing, _energy),
    "mahalanobis": (_fit_mahalanobis, _mahalanobis),
    "nearest neighbours": (_fit_neighbours, _neighbours),
    "vim": (_fit_vim, _vim),
    "subset odds": (_nothing, _odds),
}


def fit(name: str, training: ModelOutputs, labels: np.ndarray, head: nn.Linear) -> dict[str, np.ndarray]:
    """What a score needs to know, from readings of training images; `head` is the model's last layer."""
    fitted = SCORES[name][0](training, labels, head)
    return {key: np.asarray(value, value.dtype if value.dtype == np.float16 else np.float32)
            for key, value in fitted.items()}  # fmt: skip


def score(name: str, known: Arrays, reading: ModelOutputs) -> np.ndarray:
    """The score of each image, (N,).

    Raises:
        MedvitError: no such score.
    """
    if name not in SCORES:
        raise MedvitError(f"There is no score {name!r}. The scores are: {', '.join(SCORES)}.")
    return SCORES[name][1](known, reading)


def available(reading: ModelOutputs) -> list[str]:
    """The scores that make sense for a reading: the odds need classes of other subsets."""
    return [name for name in SCORES if name != "subset odds" or not reading.own.all()]
