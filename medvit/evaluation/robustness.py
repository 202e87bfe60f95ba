"""Robustness: the error of a model on corrupted test images.

Each image is enlarged to the 224 pixels that the corruptions of MedMNIST-C are meant for, corrupted, and then
processed like an upload: antialiased downscale to the source size. The downscale removes much of the noise,
blur and blocks that a model of 224 pixels would see.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from medvit.checkpoint import Checkpoint
from medvit.data import evenly_spaced, load_split, medmnist, settings, stratified_sample
from medvit.errors import MedvitError
from medvit.evaluation import corruptions
from medvit.evaluation.inference import predict
from medvit.imaging.jpeg import jpeg_round_trip
from medvit.imaging.preprocess import to_tensor

MEAN = "mean of all"
IMAGES = 250  # of the test split at most, with its class fractions
SEVERITIES = range(1, 6)
JPEG_IMAGES = 500  # of the validation split at most
COLUMNS = (
    "subset", "model", "corruption", "n", "clean_balanced_error", "balanced_error",
    *(f"severity_{severity}" for severity in SEVERITIES), "error_rate",
)  # fmt: skip


def measure(checkpoint: Checkpoint, data_root: str | Path | None = None) -> dict[str, Any]:
    """Measure balanced error (1 - mean recall of the classes, as in MedMNIST-C) under each corruption.

    Returns:
        errors {corruption: [severity 1 to 5]}, mean, clean (on the same images), and n; and error_rates, the
        fraction of wrong predictions: {corruption: mean over severities}, with "mean of all" and "clean".

    Raises:
        MedvitError: no corruptions are defined for the dataset, or the data are absent.
    """
    name = checkpoint.dataset.name
    if not settings.of(name).corruptions:
        raise MedvitError(f"MedMNIST-C defines no corruptions for {name} that are implemented here.")
    clean, labels, corrupted = corrupted_images(name, checkpoint.card["source_size"], data_root)

    def errors(images: np.ndarray) -> tuple[float, float]:
        return error_rates(predict(checkpoint.model, checkpoint.preprocessing, images)[0], labels)

    measured = {kind: np.array([errors(images) for images in steps]) for kind, steps in corrupted.items()}
    clean_balanced, clean_rate = errors(clean)
    rates = {kind: float(values[:, 1].mean()) for kind, values in measured.items()}
    return {
        "errors": {kind: values[:, 0].tolist() for kind, values in measured.items()},
        "mean": float(np.mean([values[:, 0] for values in measured.values()])),
        "clean": clean_balanced,
        "n": len(labels),
        "error_rates": rates | {MEAN: float(np.mean(list(rates.values()))), "clean": clean_rate},
    }


def error_rates(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Balanced error (1 - mean recall of the classes) and error rate of logits (N, C)."""
    wrong = logits.argmax(1) != labels
    return float(np.mean([wrong[labels == c].mean() for c in np.unique(labels)])), float(wrong.mean())


@lru_cache(1)
def corrupted_images(
    subset: str, size: int, data_root: str | Path | None
) -> tuple[np.ndarray, np.ndarray, dict[str, list[np.ndarray]]]:
    """A sample of the test split, its labels, and {corruption: [(N, s, s, 3) at severity 1 to 5]}."""
    images, labels = medmnist.load_split(subset, "test", size, data_root)
    chosen = stratified_sample(labels, IMAGES)
    images, labels = images[chosen], labels[chosen]
    torch.manual_seed(0)
    corrupted = {
        name: [_corrupt(images, subset, name, severity) for severity in SEVERITIES]
        for name in settings.of(subset).corruptions
    }
    return images, labels, corrupted


def _corrupt(images: np.ndarray, subset: str, name: str, severity: int) -> np.ndarray:
    """Enlarge source images, (N, s, s) or (N, s, s, 3), corrupt them, and downscale: uint8 (N, s, s, 3)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, parts = images.shape[1], []
    for start in range(0, len(images), 50):
        small = to_tensor(images[start : start + 50]).to(device).float() / 255
        large = F.interpolate(small, (corruptions.SIDE,) * 2, mode="bicubic").clamp(0, 1)
        large = corruptions.corrupt(large, subset, name, severity)
        if images.ndim == 3:
            large = corruptions.luminance(large).expand_as(large)
        small = F.interpolate(large, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        parts.append((small * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def jpeg_agreement(checkpoint: Checkpoint, data_root: str | Path | None = None) -> float:
    """Return the fraction of validation images that keep their class when saved as JPEG of quality 95.

    Raises:
        MedvitError: the data are absent.
    """
    images, _ = load_split(checkpoint.dataset, "val", checkpoint.card["source_size"], data_root)
    images = evenly_spaced(images, JPEG_IMAGES)
    compressed = np.stack([jpeg_round_trip(image, 95) for image in images])
    before, after = (
        predict(checkpoint.model, checkpoint.preprocessing, pixels)[0] for pixels in (images, compressed)
    )
    if checkpoint.dataset.multi_label:
        return float(((before > 0) == (after > 0)).all(1).mean())
    return float((before.argmax(1) == after.argmax(1)).mean())


def csv_rows(checkpoint: Checkpoint, section: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of robustness.csv: the mean over all corruptions, then one row a corruption."""
    common = {
        "subset": checkpoint.dataset.name,
        "model": checkpoint.model_name,
        "n": section["n"],
        "clean_balanced_error": section["clean"],
    }
    rates = section["error_rates"]
    rows = [common | {"corruption": MEAN, "balanced_error": section["mean"], "error_rate": rates[MEAN]}]
    for name, errors in section["errors"].items():
        steps = {f"severity_{severity}": error for severity, error in zip(SEVERITIES, errors, strict=True)}
        mean = {"balanced_error": float(np.mean(errors)), "error_rate": rates[name]}
        rows.append(common | {"corruption": name} | mean | steps)
    return rows
