"""How far to trust an answer: what is fitted on training and validation images, and kept in trust.npz.

Temperatures (see `calibration`), the limit of a set of answers (`conformal`), the check for foreign images
(`foreign`) and, for two classes, thresholds (`operating`). Nothing here reads the test split.
Temperatures and limit come from different halves of validation, as a limit must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.data import Dataset, as_rgb, medmnist, settings, stratified_sample, synthetic
from medvit.errors import MedvitError
from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.reliability import calibration, conformal, ood, operating_point, outliers, tta

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ACCEPTED = 0.95  # of validation images; the threshold of the check for foreign images follows from it
# A CPU affords this many images of each split; the statistics need no more.
VALIDATION, VALIDATION_VIEWS, TRAINING, STRANGERS = 3000, 2000, 600, 150


@dataclass(frozen=True)
class InDistribution:
    """Whether an image looks like the subset: it does where `score` is at least `threshold`."""

    score: float
    threshold: float

    @property
    def accepted(self) -> bool:
        return self.score >= self.threshold


@dataclass(frozen=True)
class Trust:
    """The content of a checkpoint's trust.npz, ready to be applied."""

    arrays: Mapping[str, np.ndarray]
    root: Path

    @classmethod
    def of(cls, found: Checkpoint) -> Trust | None:
        """That of a checkpoint; None where it has none, or none that fits its weights."""
        return None if found.trust is None else cls(found.trust, found.folder.parent.parent)

    def calibrated(self, logits: np.ndarray, multi_label: bool = False) -> np.ndarray:
        """Logits (N, C), or (V, N, C) of several views, to calibrated probabilities (N, C)."""
        single, together = self.arrays["temperature"]
        return calibration.calibrated(logits, together if logits.ndim == 3 else single, multi_label)

    @property
    def has_prediction_sets(self) -> bool:
        return "set_scores" in self.arrays

    def fitted_on(self, tta: bool = False) -> int:
        """How many validation images the sets rest on."""
        return len(self._set_scores(tta))

    def sets(self, probs: np.ndarray, level: float, tta: bool = False) -> np.ndarray:
        """Which classes belong to the set, bool (N, C), of calibrated probabilities (N, C).

        Where validation is too small for the level, all of them do.
        """
        if not 0 < level < 1:
            raise MedvitError(f"The level of a set is a share between 0 and 1, such as 0.95, not {level}.")
        limit = conformal.quantile(self._set_scores(tta), level)
        return conformal.sets(probs, self.set_method, limit)

    @property
    def set_method(self) -> str:
        return str(self.arrays["set_method"])

    def _set_scores(self, tta: bool) -> np.ndarray:
        return self.arrays["set_scores_views" if tta else "set_scores"]

    @property
    def reads_shared(self) -> bool:
        """Whether the check for foreign images reads the shared model; else the checkpoint itself."""
        return str(self.arrays["foreign_model"]) == "shared"

    @cached_property
    def shared(self) -> ood.OodReference | None:
        """The shared model that the check was fitted with; None where it is absent, or another one."""
        found = ood.shared(self.root)
        return found if found and found.sha256 == str(self.arrays["foreign_shared"]) else None

    @property
    def foreign_score(self) -> str:
        return str(self.arrays["foreign_score"])

    @property
    def foreign_threshold(self) -> float:
        return float(self.arrays["foreign_threshold"])

    def foreign_scores(self, reading: ood.ModelOutputs) -> np.ndarray:
        """The score (N,) of readings by the model that `reads_shared` names."""
        known = {key.removeprefix("foreign_"): value for key, value in self.arrays.items()}
        return ood.score(self.foreign_score, known, reading)

    @property
    def thresholds(self) -> dict[str, float]:
        """Presets of the operating point: calibrated probability of the positive class."""
        if "thresholds" not in self.arrays:
            return {}
        return dict(zip(operating_point.PRESETS, map(float, self.arrays["thresholds"]), strict=True))


def halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint halves with the same class shares."""
    one = stratified_sample(labels, len(labels) // 2, seed=1)
    return one, np.setdiff1d(np.arange(len(labels)), one)


@torch.inference_mode()
def view_logits(
    model: PreTrainedModel, preprocessing: Preprocessing, images: np.ndarray, subset: str
) -> np.ndarray:
    """Logits (V, N, C) of all views of source images."""
    device = next(model.parameters()).device
    batches = []
    for i in range(0, len(images), 32):
        pixels = tta.make(to_tensor(images[i : i + 32]).to(device), subset)
        logits = model(pixel_values=preprocessing(pixels)).logits.float().cpu().numpy()
        batches.append(logits.reshape(tta.count(subset), -1, logits.shape[1]))
    return np.concatenate(batches, axis=1)


def fit(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    subset: Dataset,
    sha256: str,
    size: int = 28,
    data_root: str | Path | None = None,
    root: Path = checkpoint.DEFAULT_ROOT,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fit all of it from the training and the validation split.

    Args:
        sha256: of the weights, which the result is bound to.
        root: of the checkpoints, where the shared model is looked for first.

    Returns:
        the arrays of trust.npz, and how the scores for foreign images compared on validation.

    Raises:
        MedvitError: the subset's data are absent.
    """
    images, labels = medmnist.load_split(subset.name, "val", size, data_root)
    kept = stratified_sample(labels, VALIDATION)
    images, labels = images[kept], labels[kept]
    reading = ood.read(model, preprocessing, images)
    arrays: dict[str, Any] = {"sha256": np.array(sha256)}
    arrays |= _fit_sets(model, preprocessing, subset, images, labels, reading.logits)
    found, compared = _fit_foreign(model, preprocessing, subset, images, reading, size, data_root, root)
    arrays |= found
    if subset.task == "binary-class":
        probs = calibration.calibrated(reading.logits, arrays["temperature"][0])
        positive = settings.of(subset.name).positive_class
        arrays["thresholds"] = operating_point.choose(probs[:, positive], labels == positive)
    return arrays, compared


def _fit_sets(model, preprocessing, subset, images, labels, logits) -> dict[str, Any]:
    """Temperatures from one half of validation, scores of the true class from the other.

    Views are asked of a part of each half, so that nothing fitted on the one has seen the other.
    """
    one, other = halves(labels)
    some, others = (half[stratified_sample(labels[half], VALIDATION_VIEWS // 2)] for half in (one, other))

    def of_views(chosen: np.ndarray) -> np.ndarray:
        return view_logits(model, preprocessing, images[chosen], subset.name)

    arrays: dict[str, Any] = {}
    temperatures: list[np.ndarray] = []
    true_scores: list[np.ndarray] = []
    for values, truth, values_after, truth_after in (
        (logits[one], labels[one], logits[other], labels[other]),
        (of_views(some), labels[some], of_views(others), labels[others]),
    ):
        temperatures.append(calibration.fit_temperature(values, truth))
        if subset.multi_label:
            continue
        if not true_scores:
            level = settings.of(subset.name).conformal_level
            probs = calibration.calibrated(values, temperatures[-1])
            arrays["set_method"] = np.array(conformal.choose_method(probs, truth, level))
        probs = calibration.calibrated(values_after, temperatures[-1])
        every = conformal.scores(probs, str(arrays["set_method"]))
        true_scores.append(every[np.arange(len(every)), truth_after])
    arrays["temperature"] = np.array(temperatures, np.float32)
    if true_scores:
        arrays["set_scores"], arrays["set_scores_views"] = (
            np.sort(s).astype(np.float32) for s in true_scores
        )
    return arrays


def _fit_foreign(
    model, preprocessing, subset, images, reading, size, data_root, root
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit every score on both models; keep the one that lets the fewest strangers pass on validation."""
    training, training_labels = medmnist.load_split(subset.name, "train", size, data_root)
    chosen = np.random.default_rng(0).permutation(len(training))[:TRAINING]
    training, training_labels = training[chosen], training_labels[chosen]
    crowd = validation_outliers(subset, size, data_root)
    candidates: dict[str, Any] = {"own": (model, preprocessing, None, reading)}
    shared = ood.shared(root)
    own = shared.own(subset.name) if shared else None
    if shared and size == shared.preprocessing.size:
        read = ood.read(shared.model, shared.preprocessing, images, own)
        candidates["shared"] = (shared.model, shared.preprocessing, own, read)
    compared, fitted = {}, {}
    for which, (reader, prepare, columns, validation) in candidates.items():
        train = ood.read(reader, prepare, training, columns)
        others = {kind: ood.read(reader, prepare, pictures, columns) for kind, pictures in crowd.items()}
        for name in ood.available(train):
            known = ood.fit(name, train, training_labels, reader.classifier)
            accepted = ood.score(name, known, validation)
            threshold = float(np.quantile(accepted, 1 - ACCEPTED))
            outside = [ood.score(name, known, other) for other in others.values()]
            compared[f"{name}, {which}"] = {
                "auroc": float(np.mean([auroc(accepted, values) for values in outside])),
                "accepted": float(np.mean([(values >= threshold).mean() for values in outside])),
            }
            fitted[f"{name}, {which}"] = (name, which, threshold, known)
    best = min(compared, key=lambda key: (round(compared[key]["accepted"], 3), -compared[key]["auroc"]))
    name, which, threshold, known = fitted[best]
    arrays = {f"foreign_{key}": value for key, value in known.items()} | {
        "foreign_score": np.array(name),
        "foreign_model": np.array(which),
        "foreign_threshold": np.array(threshold, np.float32),
        "foreign_shared": np.array(shared.sha256 if shared else ""),
    }
    return arrays, compared


def validation_outliers(
    subset: Dataset, size: int = 28, data_root: str | Path | None = None
) -> dict[str, np.ndarray]:
    """Pictures that are none of a subset, without the test split.

    The other subsets' validation images, where they are on disk, drawn pictures, phantoms of other subsets;
    and drawn pictures laid half-transparent over the subset's validation images, which tell good scores
    apart where every score notices all the rest.
    """
    grey = subset.channels == 1
    crowd = other_subsets(subset, "val", size, data_root, STRANGERS)
    crowd["drawn"] = outliers.synthetic_outliers(2 * STRANGERS, seed=2, size=size)
    names = [name for name in medmnist.names() if name != subset.name]
    drawn = [synthetic.draw(names[i % len(names)], 10_000 + i) for i in range(STRANGERS)]
    if size == synthetic.SIDE:
        crowd["phantoms"] = np.stack(drawn)
    crowd = {kind: as_rgb(pictures, grey) for kind, pictures in crowd.items()}
    images, labels = medmnist.load_split(subset.name, "val", size, data_root)
    below = as_rgb(images[stratified_sample(labels, STRANGERS)], grey).astype(np.float32)
    crowd["half-transparent"] = ((below + crowd["drawn"][: len(below)]) / 2).astype(np.uint8)
    return crowd


def other_subsets(
    subset: Dataset, split: str, size: int, data_root: str | Path | None, count: int
) -> dict[str, np.ndarray]:
    """Images (count, s, s, 3) of each other main subset that is on disk, as the subset would take them."""
    result = {}
    for name in medmnist.MAIN:
        if name != subset.name and medmnist.archive_path(name, size, data_root).is_file():
            images, labels = medmnist.load_split(name, split, size, data_root)
            result[name] = as_rgb(
                images[stratified_sample(labels, count)], subset.channels == 1
            )
    return result


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve of a score that should be higher inside."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
