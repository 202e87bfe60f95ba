"""What trust.npz is worth on the test split, for the card, results/trust.csv and the screens."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.data import as_rgb, medmnist, settings, stratified_sample
from medvit.evaluation.metrics import evaluate, mcnemar, probabilities, wilson
from medvit.imaging.jpeg import jpeg_round_trip
from medvit.imaging.preprocess import to_source
from medvit.reliability import calibration, conformal, fit, ood, operating_point, outliers, tta
from medvit.reliability.fit import Trust

# A CPU affords this many test images: views of the larger test splits, and pictures of each foreign kind.
VIEWED, STRANGERS, PICTURES, FORMS = 3500, 200, 60, 100

COLUMNS = (
    "subset", "model", "n", "temperature", "ece_before", "ece", "ece_floor", "ece_10", "ece_10_floor",
    "brier_before", "brier", "nll_before", "nll",
    "level", "set_method", "fitted_on", "coverage", "coverage_low", "coverage_high", "mean_size",
    "foreign_score", "foreign_model", "test_accepted", "jpeg_accepted", "enlarged_accepted",
    "auroc_subsets", "accepted_subsets", "auroc_pictures", "accepted_pictures", "worst_kind", "worst_auroc",
    "worst_accepted",
    "views", "views_n", "views_accuracy_before", "views_accuracy", "views_ece_before", "views_ece",
    "views_ece_floor", "stability",
    "auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high", "prevalence",
)  # fmt: skip


def complete(
    folder: Path, data_root: str | Path | None = None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Fit trust.npz of a checkpoint folder, measure it on the test split, and note it in the card.

    Args:
        device: where the models run; on one CPU core it takes up to five minutes.

    Returns:
        the section "trust" of the card.

    Raises:
        MedvitError: the folder is damaged, or data are absent.
    """
    found = _opened(folder, device)
    arrays, compared = fit.fit(
        found.model, found.preprocessing, found.subset, found.card["sha256"], found.card["source_size"],
        data_root, folder.parent.parent,
    )  # fmt: skip
    checkpoint.write_trust(folder, arrays)
    found = _opened(folder, device)
    section = measure(found, data_root) | {"compared": compared}
    test = evaluate(found.test_logits, found.test_labels, found.subset.task, found.subset.classes)
    card = found.card | {"trust": section, "test": found.card["test"] | test}
    checkpoint.write_card(folder, card)
    return section


def _opened(folder: Path, device: torch.device | str) -> Checkpoint:
    """A checkpoint with its model, and the shared one, on a device."""
    found = checkpoint.load(folder)
    nn.Module.to(found.model, device)  # transformers annotates its own wrongly
    if shared := ood.shared(folder.parent.parent):
        nn.Module.to(shared.model, device)
    return found


def measure(found: Checkpoint, data_root: str | Path | None = None) -> dict[str, Any]:
    """All figures of a checkpoint that has a trust.npz, from the official test split."""
    applied = Trust.of(found)
    assert applied is not None, found.trust_problem
    subset, logits, labels = found.subset, found.test_logits.astype(np.float64), found.test_labels
    probs = applied.calibrated(logits, subset.multi_label)
    images, _ = medmnist.load_split(subset.name, "test", found.card["source_size"], data_root)
    result: dict[str, Any] = {
        "n": len(labels),
        "temperature": float(np.median(calibration.temperature(logits, applied.arrays["temperature"][0]))),
        "before": calibration.figures(probabilities(logits, subset.multi_label), labels),
        "after": calibration.figures(probs, labels),
        "views": _views(found, applied, images),
        "foreign": _foreign(found, applied, images, data_root),
    }
    if applied.has_prediction_sets:
        levels = sorted({*conformal.LEVELS, settings.of(subset.name).conformal_level})
        result["sets"] = {
            "method": applied.set_method,
            "default_level": settings.of(subset.name).conformal_level,
            "fitted_on": applied.fitted_on(),
            "levels": {
                f"{level:.2f}": conformal.figures(applied.sets(probs, level), labels)
                | {
                    "possible": applied.fitted_on() >= conformal.needed(level),
                    "expected": conformal.expected_range(level, applied.fitted_on()),
                }
                for level in levels
            },
        }
    if applied.thresholds:
        positive = settings.of(subset.name).positive_class
        score, truth = probs[:, positive], labels == positive
        result["operating"] = operating_point.areas(score, truth) | {
            "positive": subset.classes[positive],
            "presets": {
                name: {"threshold": value} | operating_point.at(score, truth, value)
                for name, value in applied.thresholds.items()
            },
        }
    return result


def _views(found: Checkpoint, applied: Trust, images: np.ndarray) -> dict[str, Any]:
    """Accuracy and calibration with all views of each image, beside those without, on the same images."""
    chosen = stratified_sample(found.test_labels, VIEWED)
    labels, multi_label = found.test_labels[chosen], found.subset.multi_label
    values = fit.view_logits(found.model, found.preprocessing, images[chosen], found.subset.name)
    before = applied.calibrated(found.test_logits[chosen].astype(np.float64), multi_label)
    after = applied.calibrated(values, multi_label)
    _, agreement = tta.combine(
        values / calibration.temperature(values, applied.arrays["temperature"][1]), multi_label
    )
    right_before, right = (calibration.confidence(probs, labels)[1] for probs in (before, after))
    result = {
        "count": tta.count(found.subset.name),
        "n": len(labels),
        "accuracy_before": float(right_before.mean()),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson(right.sum(), right.size),
        "mcnemar_p": mcnemar(right, right_before)[2],
        "before": calibration.figures(before, labels),
        "after": calibration.figures(after, labels),
        "stability": float(agreement.mean()),
    }
    if applied.has_prediction_sets:
        level = settings.of(found.subset.name).conformal_level
        members = applied.sets(after, level, tta=True)
        result["sets"] = conformal.figures(members, labels)
    return result


def _foreign(found: Checkpoint, applied: Trust, images: np.ndarray, data_root) -> dict[str, Any]:
    """What the check makes of true test images, in several forms, and of strangers."""
    subset, size = found.subset, found.card["source_size"]
    threshold, grey = applied.foreign_threshold, subset.channels == 1
    if applied.reads_shared:
        shared = applied.shared
        if shared is None:
            return {"missing": "The shared model that this was fitted with is not there."}
        reader, prepare, own = shared.model, shared.preprocessing, shared.own(subset.name)
    else:
        reader, prepare, own = found.model, found.preprocessing, None

    def scores(pictures: np.ndarray) -> np.ndarray:
        return applied.foreign_scores(ood.read(reader, prepare, pictures, own))

    inside = scores(images[stratified_sample(found.test_labels, 4 * VIEWED)])
    accepted = inside >= threshold
    some = images[stratified_sample(found.test_labels, FORMS)]
    kinds = fit.other_subsets(subset, "test", size, data_root, STRANGERS)
    kinds |= {kind: outliers.draw(kind, PICTURES, grey, size) for kind in outliers.KINDS}

    def against(pictures: np.ndarray) -> dict[str, Any]:
        outside = scores(pictures)
        passed = outside >= threshold
        return {
            "auroc": fit.auroc(inside, outside),
            "accepted": float(passed.mean()),
            "accepted_interval": wilson(passed.sum(), len(passed)),
            "n": len(passed),
        }

    return {
        "score": applied.foreign_score,
        "model": "shared" if applied.reads_shared else "own",
        "threshold": threshold,
        "test_accepted": float(accepted.mean()),
        "test_accepted_interval": wilson(accepted.sum(), len(accepted)),
        "forms": {
            name: float((scores(pictures) >= threshold).mean())
            for name, pictures in _forms(some, size, grey).items()
        },
        "kinds": {kind: against(pictures) for kind, pictures in kinds.items()},
        "near": {
            kind: against(pictures) for kind, pictures in outliers.near(subset.name, grey, size).items()
        },
    }


def _forms(images: np.ndarray, size: int, grey: bool) -> dict[str, np.ndarray]:
    """The same images after a JPEG file, and after an enlarged PNG, each through the path of an upload."""

    as_jpeg = [Image.fromarray(jpeg_round_trip(image, 90)) for image in images]
    enlarged = [Image.fromarray(i).resize((8 * size, 8 * size), Image.Resampling.BICUBIC) for i in images]
    return {
        "original": as_rgb(images, grey),
        "JPEG, quality 90": np.stack([to_source(image, size, grey) for image in as_jpeg]),
        "enlarged 8 times": np.stack([to_source(image, size, grey) for image in enlarged]),
    }


def row(found: Checkpoint, section: dict[str, Any]) -> dict[str, Any]:
    """One row of trust.csv."""
    before, after, seen = section["before"], section["after"], section["views"]
    values: dict[str, Any] = {
        "subset": found.subset.name,
        "model": found.model_name,
        "n": section["n"],
        "temperature": section["temperature"],
        "views": seen["count"],
        "views_n": seen["n"],
        "views_accuracy_before": seen["accuracy_before"],
        "views_accuracy": seen["accuracy"],
        "views_ece_before": seen["before"]["ece"],
        "views_ece": seen["after"]["ece"],
        "views_ece_floor": seen["after"]["ece_floor"],
        "stability": seen["stability"],
    }
    values |= after | {f"{key}_before": before[key] for key in ("ece", "brier", "nll")}
    if "sets" in section:
        level = section["sets"]["default_level"]
        chosen = section["sets"]["levels"][f"{level:.2f}"]
        low, high = chosen["coverage_interval"]
        values |= {"level": level, "set_method": section["sets"]["method"]}
        values |= {"fitted_on": section["sets"]["fitted_on"], "coverage_low": low, "coverage_high": high}
        values |= {key: chosen[key] for key in ("coverage", "mean_size")}
    if kinds := section["foreign"].get("kinds"):
        values |= {f"foreign_{key}": section["foreign"][key] for key in ("score", "model")}
        values["test_accepted"] = section["foreign"]["test_accepted"]
        values["jpeg_accepted"] = section["foreign"]["forms"]["JPEG, quality 90"]
        values["enlarged_accepted"] = section["foreign"]["forms"]["enlarged 8 times"]
        for group, names in (("subsets", set(kinds) - set(outliers.KINDS)), ("pictures", outliers.KINDS)):
            for key in ("auroc", "accepted"):
                if names:
                    values[f"{key}_{group}"] = float(np.mean([kinds[name][key] for name in names]))
        worst = max(kinds, key=lambda kind: (kinds[kind]["accepted"], -kinds[kind]["auroc"]))
        values |= {"worst_kind": worst, "worst_auroc": kinds[worst]["auroc"]}
        values["worst_accepted"] = kinds[worst]["accepted"]
    if "operating" in section:
        areas = section["operating"]
        values |= {key: areas[key] for key in ("auroc", "auprc", "prevalence")}
        for key in ("auroc", "auprc"):
            values[f"{key}_low"], values[f"{key}_high"] = areas[f"{key}_interval"]
    return values
