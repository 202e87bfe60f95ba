"""Fit trust.npz: everything in it comes from training and validation images, nothing from the test split.

Temperatures and nonconformity scores come from different halves of validation, as split conformal prediction
requires. The OOD threshold accepts 95 % of the validation images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medvit.checkpoint import DEFAULT_ROOT
from medvit.checkpoint_files import MAX_VALUE
from medvit.data import Dataset, halves, load_split, stratified_sample
from medvit.evaluation.inference import predict
from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.reliability import calibration, conformal, ood, operating_point, outliers, tta

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ACCEPTED = 0.95  # of the validation images
# Images of each split at most; more change little and take long on a CPU.
MAX_VALIDATION, MAX_VALIDATION_TTA, MAX_TRAINING = 3000, 2000, 5000


def fit(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    dataset: Dataset,
    sha256: str,
    size: int = 28,
    data_root: str | Path | None = None,
    root: Path = DEFAULT_ROOT,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fit all arrays of trust.npz.

    Args:
        sha256: of the weights that the arrays belong to.
        root: of the checkpoints, for the OOD reference model.

    Returns:
        the arrays, and how the OOD score does on validation; see `fit_ood`.

    Raises:
        MedvitError: the data of the dataset are absent.
    """
    images, labels = load_split(dataset, "val", size, data_root)
    kept = stratified_sample(labels, MAX_VALIDATION)
    images, labels = images[kept], labels[kept]
    logits, _ = predict(model, preprocessing, images)
    arrays: dict[str, Any] = {"sha256": np.array(sha256)}
    arrays |= fit_calibration(model, preprocessing, dataset, images, labels, logits)
    ood_arrays, ood_validation = fit_ood(dataset, images, size, data_root, root)
    arrays |= ood_arrays
    if dataset.task == "binary-class":
        probs = calibration.calibrated(logits, arrays["temperature"][0])
        positive = dataset.settings.positive_class
        arrays["thresholds"] = operating_point.choose(probs[:, positive], labels == positive)
    return arrays, ood_validation


@torch.inference_mode()
def tta_logits(
    model: PreTrainedModel, preprocessing: Preprocessing, images: np.ndarray, subset: str
) -> np.ndarray:
    """Logits (V, N, C) of all test-time augmentations of source images."""
    device = next(model.parameters()).device
    batches = []
    for start in range(0, len(images), 32):
        pixels = tta.augment(to_tensor(images[start : start + 32]).to(device), subset)
        logits = model(pixel_values=preprocessing(pixels)).logits.float().cpu().numpy()
        batches.append(logits.reshape(tta.count(subset), -1, logits.shape[1]))
    return np.concatenate(batches, axis=1)


def fit_calibration(
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
) -> dict[str, np.ndarray]:
    """Fit temperatures to one half of validation, and nonconformity scores to the other.

    Test-time augmentations take time, so they are computed for a part of each half.

    Returns:
        temperature (2, 2): offset and slope, plain and with test-time augmentation; for tasks with one label,
        nonconformity_scores and nonconformity_scores_tta, sorted.
    """
    first, second = halves(labels)
    plain = logits[first], labels[first], logits[second], labels[second]
    count = MAX_VALIDATION_TTA // 2
    first, second = (half[stratified_sample(labels[half], count)] for half in (first, second))
    first_tta, second_tta = (
        tta_logits(model, preprocessing, images[half], dataset.name) for half in (first, second)
    )
    temperatures, scores = [], []
    for fit_logits, fit_labels, score_logits, score_labels in (
        plain,
        (first_tta, labels[first], second_tta, labels[second]),
    ):
        fitted = calibration.fit_temperature(fit_logits, fit_labels)
        temperatures.append(fitted)
        if not dataset.multi_label:
            probs = calibration.calibrated(score_logits, fitted)
            scores.append(np.sort(conformal.nonconformity_scores(probs, score_labels)).astype(np.float32))
    names = ("nonconformity_scores", "nonconformity_scores_tta")
    return {"temperature": np.array(temperatures, np.float32)} | dict(zip(names, scores, strict=False))


def fit_ood(
    dataset: Dataset, images: np.ndarray, size: int, data_root: str | Path | None, root: Path
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fit the OOD score to training images, and its threshold to validation images.

    Returns:
        the arrays whose names begin with ood; and {kind of outlier: {auroc, accepted}} of
        `outliers.validation_outliers`, with their mean as "mean". Both are empty without a reference
        model, and where the training images of a class do not differ.
    """
    reference = ood.reference(root)
    if reference is None:
        return {}, {}
    training, labels = load_split(dataset, "train", size, data_root)
    chosen = np.random.default_rng(0).permutation(len(training))[:MAX_TRAINING]
    arrays = ood.fit(reference.features(training[chosen]), labels[chosen])
    inside = ood.score(reference.features(images), arrays)
    threshold = np.quantile(inside, 1 - ACCEPTED).astype(np.float32)
    if not abs(threshold) <= MAX_VALUE:  # no spread, as of one training image a class
        return {}, {}
    arrays |= {"ood_threshold": threshold, "ood_reference": np.array(reference.sha256)}
    validation = {}
    for kind, pictures in outliers.validation_outliers(dataset, size, data_root).items():
        outside = ood.score(reference.features(pictures), arrays)
        accepted = float((outside >= threshold).mean())
        validation[kind] = {"auroc": ood.auroc(inside, outside), "accepted": accepted}
    validation["mean"] = {
        key: float(np.mean([row[key] for row in validation.values()])) for key in ("auroc", "accepted")
    }
    return arrays, validation
