"""How a model fares on corrupted test images.

Each image is enlarged to the 224 pixels that the corruptions are meant for, corrupted, and then takes the
path of an upload: antialiased down to the source size. A model of 28 pixels is therefore blind to much of the
noise, blur and blocks that one of 224 pixels sees.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from medvit.checkpoint import Checkpoint
from medvit.data import medmnist, settings
from medvit.errors import MedvitError
from medvit.evaluation import corruptions
from medvit.evaluation.inference import predict
from medvit.imaging.preprocess import to_tensor

ALL = "mean of all"
IMAGES = 250  # of the test split at most, with its class shares
COLUMNS = ("subset", "model", "corruption", "n", "clean", "error", "s1", "s2", "s3", "s4", "s5", "plain")


def measure(found: Checkpoint, data_root: str | Path | None = None) -> dict[str, Any]:
    """Balanced error (1 - mean recall of the classes, as MedMNIST-C counts) under each of its corruptions.

    Returns:
        errors {corruption: [severity 1 to 5]}, mean, clean (on the same images), and n; beside them `plain`,
        the share of images wrong: {corruption: mean over severities}, with "mean of all" and "clean".

    Raises:
        MedvitError: MedMNIST-C says nothing of the subset here, or the data are absent.
    """
    name = found.subset.name
    if not settings.of(name).corruptions:
        raise MedvitError(f"MedMNIST-C defines no corruptions for {name} that are implemented here.")
    clean, labels, corrupted = corrupted_images(name, found.card["source_size"], data_root)

    def errors(images: np.ndarray) -> tuple[float, float]:
        said = predict(found.model, found.preprocessing, images)[0].argmax(1)
        balanced = 1 - np.mean([(said[labels == c] == c).mean() for c in np.unique(labels)])
        return float(balanced), float((said != labels).mean())

    balanced, plain = {}, {}
    for kind, steps in corrupted.items():
        both = [errors(images) for images in steps]
        balanced[kind] = [one for one, _ in both]
        plain[kind] = float(np.mean([one for _, one in both]))
    clean_balanced, clean_plain = errors(clean)
    return {
        "errors": balanced,
        "mean": float(np.mean(list(balanced.values()))),
        "clean": clean_balanced,
        "n": len(labels),
        "plain": plain | {ALL: float(np.mean(list(plain.values()))), "clean": clean_plain},
    }


@lru_cache(1)
def corrupted_images(
    subset: str, size: int, data_root: str | Path | None
) -> tuple[np.ndarray, np.ndarray, dict[str, list[np.ndarray]]]:
    """A sample of the test split, its labels, and it under each corruption: five arrays (N, s, s, 3) each."""
    images, labels = medmnist.load_split(subset, "test", size, data_root)
    chosen = medmnist.sample(labels, IMAGES)
    images, labels = images[chosen], labels[chosen]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    result: dict[str, list[np.ndarray]] = {}
    for name in settings.of(subset).corruptions:
        result[name] = []
        for severity in range(1, 6):
            parts = []
            for start in range(0, len(images), 50):
                small = to_tensor(images[start : start + 50]).to(device).float() / 255
                large = F.interpolate(small, (corruptions.SIDE,) * 2, mode="bicubic").clamp(0, 1)
                large = corruptions.corrupt(large, subset, name, severity)
                if images.ndim == 3:
                    large = large.mean(1, keepdim=True).expand_as(large)
                back = F.interpolate(large, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
                parts.append((back * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
            result[name].append(np.concatenate(parts))
    return images, labels, result


def rows(found: Checkpoint, section: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of robustness.csv: one a corruption, and their mean."""
    common = {
        "subset": found.subset.name,
        "model": found.model_name,
        "n": section["n"],
        "clean": section["clean"],
    }
    result = [common | {"corruption": ALL, "error": section["mean"], "plain": section["plain"][ALL]}]
    for name, errors in section["errors"].items():
        steps = {f"s{severity}": error for severity, error in enumerate(errors, 1)}
        means = {"error": float(np.mean(errors)), "plain": section["plain"][name]}
        result.append(common | {"corruption": name} | means | steps)
    return result
