"""Measure on the test split what trust.npz achieves, for the card, results/trust.csv and the app."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from medvit import checkpoint as checkpoints
from medvit.checkpoint import Checkpoint
from medvit.data import as_rgb, load_split, stratified_sample
from medvit.errors import MedvitError
from medvit.evaluation.calibration_error import calibration_metrics, confidence
from medvit.evaluation.metrics import evaluate, mcnemar, probabilities, wilson
from medvit.imaging.jpeg import jpeg_round_trip
from medvit.imaging.preprocess import to_source
from medvit.reliability import calibration, conformal, fit, ood, operating_point, outliers, tta
from medvit.reliability.apply import Reliability

# Images at most; more change little and take long on a CPU.
MAX_TTA, MAX_TEST, MAX_OUTLIERS, MAX_PICTURES, MAX_FORMS = 3500, 14_000, 200, 60, 100

COLUMNS = (
    "subset", "model", "n", "temperature", "ece_before", "ece", "ece_floor", "ece_10", "ece_10_floor",
    "brier_before", "brier", "nll_before", "nll",
    "level", "fitted_on", "coverage", "coverage_low", "coverage_high", "expected_low", "expected_high",
    "below_expected", "mean_size",
    "ood_test_accepted", "ood_jpeg_accepted", "ood_enlarged_accepted", "ood_auroc_datasets",
    "ood_accepted_datasets", "ood_auroc_pictures", "ood_accepted_pictures", "ood_worst_kind",
    "ood_worst_auroc", "ood_worst_accepted", "ood_validation_auroc", "ood_validation_accepted",
    "tta_count", "tta_n", "tta_accuracy_before", "tta_accuracy", "tta_ece_before", "tta_ece",
    "tta_ece_floor", "tta_agreement",
    "auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high", "prevalence",
)  # fmt: skip


def fit_and_measure(
    folder: Path, data_root: str | Path | None = None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Fit trust.npz of a checkpoint folder, measure it on the test split, and write both into the folder.

    Args:
        device: where the models run; on one CPU core it takes up to five minutes.

    Returns:
        the section "trust" of the card.

    Raises:
        MedvitError: the folder is damaged, or data are absent.
    """
    checkpoint = _open(folder, device)
    arrays, ood_validation = fit.fit(
        checkpoint.model, checkpoint.preprocessing, checkpoint.dataset, checkpoint.card["sha256"],
        checkpoint.card["source_size"], data_root, folder.parent.parent,
    )  # fmt: skip
    checkpoints.write_trust(folder, arrays)
    checkpoint = _open(folder, device)
    section = measure(checkpoint, data_root)
    section["ood"]["validation"] = ood_validation
    dataset = checkpoint.dataset
    test = evaluate(checkpoint.test_logits, checkpoint.test_labels, dataset.task, dataset.classes)
    card = checkpoint.card | {"trust": section, "test": checkpoint.card["test"] | test}
    checkpoints.write_card(folder, card)
    return section


def _open(folder: Path, device: torch.device | str) -> Checkpoint:
    """Open a checkpoint, with its model and the OOD reference model on a device."""
    checkpoint = checkpoints.load(folder)
    nn.Module.to(checkpoint.model, device)  # transformers annotates its own `to` wrongly
    if reference := ood.reference(folder.parent.parent):
        nn.Module.to(reference.model, device)
    return checkpoint


def measure(checkpoint: Checkpoint, data_root: str | Path | None = None) -> dict[str, Any]:
    """Compute the section "trust" of the card of a checkpoint that has a trust.npz.

    Raises:
        MedvitError: the data are absent.
    """
    reliability = Reliability.of(checkpoint)
    if reliability is None:
        raise MedvitError(checkpoint.trust_problem or f"{checkpoint.folder} has no trust.npz.")
    dataset, logits, labels = (
        checkpoint.dataset,
        checkpoint.test_logits.astype(np.float64),
        checkpoint.test_labels,
    )
    probs = reliability.calibrated(logits, dataset.multi_label)
    images, _ = load_split(dataset, "test", checkpoint.card["source_size"], data_root)
    temperatures = calibration.temperature(logits, reliability.arrays["temperature"][0])
    section: dict[str, Any] = {
        "n": len(labels),
        "temperature": float(np.median(temperatures)),
        "before": calibration_metrics(probabilities(logits, dataset.multi_label), labels),
        "after": calibration_metrics(probs, labels),
        "tta": measure_tta(checkpoint, reliability, images),
        "ood": measure_ood(checkpoint, reliability, images, data_root),
    }
    if validation := checkpoint.card.get("trust", {}).get("ood", {}).get("validation"):
        section["ood"]["validation"] = validation
    if reliability.has_prediction_sets:
        section["prediction_sets"] = measure_prediction_sets(checkpoint, reliability, probs)
    if reliability.thresholds:
        positive = dataset.settings.positive_class
        score, truth = probs[:, positive], labels == positive
        section["operating"] = operating_point.areas(score, truth) | {
            "positive": dataset.classes[positive],
            "presets": {
                name: {"threshold": value} | operating_point.at(score, truth, value)
                for name, value in reliability.thresholds.items()
            },
        }
    return section


def measure_prediction_sets(
    checkpoint: Checkpoint, reliability: Reliability, probs: np.ndarray
) -> dict[str, Any]:
    """Coverage and size of the prediction sets at each level, from calibrated probabilities (N, C).

    `below_expected`: whether the coverage is below the range that is expected where test images are like
    validation images.
    """
    default, fitted_on = checkpoint.dataset.settings.conformal_level, reliability.fitted_on()
    levels = {}
    for level in sorted({*conformal.LEVELS, default}):
        members = reliability.prediction_sets(probs, level)
        metrics = conformal.coverage_metrics(members, checkpoint.test_labels)
        expected = conformal.expected_coverage(level, fitted_on, len(checkpoint.test_labels))
        levels[f"{level:.2f}"] = metrics | {
            "possible": fitted_on >= conformal.images_needed(level),
            "expected": expected,
            "below_expected": metrics["coverage"] < expected[0],
        }
    return {"default_level": default, "fitted_on": fitted_on, "levels": levels}


def measure_tta(checkpoint: Checkpoint, reliability: Reliability, images: np.ndarray) -> dict[str, Any]:
    """Accuracy and calibration with test-time augmentation, and without it on the same images.

    `tta_agreement`: mean fraction of the augmentations whose predicted class is that of all combined.
    """
    dataset, chosen = checkpoint.dataset, stratified_sample(checkpoint.test_labels, MAX_TTA)
    labels, multi_label = checkpoint.test_labels[chosen], dataset.multi_label
    logits = fit.tta_logits(checkpoint.model, checkpoint.preprocessing, images[chosen], dataset.name)
    before = reliability.calibrated(checkpoint.test_logits[chosen].astype(np.float64), multi_label)
    after = reliability.calibrated(logits, multi_label)
    temperatures = calibration.temperature(logits, reliability.arrays["temperature"][1])
    _, agreement = tta.combine(logits / temperatures, multi_label)
    right_before, right = (confidence(probs, labels)[1] for probs in (before, after))
    section = {
        "count": tta.count(dataset.name),
        "n": len(labels),
        "accuracy_before": float(right_before.mean()),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson(right.mean() * len(labels), len(labels)),  # an image is one observation
        "mcnemar_p": None if multi_label else mcnemar(right, right_before)[2],
        "before": calibration_metrics(before, labels),
        "after": calibration_metrics(after, labels),
        "tta_agreement": float(agreement.mean()),
    }
    if reliability.has_prediction_sets:
        members = reliability.prediction_sets(after, dataset.settings.conformal_level, tta=True)
        section["prediction_sets"] = conformal.coverage_metrics(members, labels)
    return section


def measure_ood(
    checkpoint: Checkpoint, reliability: Reliability, images: np.ndarray, data_root: str | Path | None
) -> dict[str, Any]:
    """The OOD check on test images, in several file forms, and on outliers."""
    if "ood_reference" not in reliability.arrays:
        return {"missing": "There is no OOD score: no reference model, or too few training images."}
    if reliability.ood_reference is None:
        return {"missing": "The OOD reference model that trust.npz was fitted with is absent."}
    dataset, size, labels = checkpoint.dataset, checkpoint.card["source_size"], checkpoint.test_labels
    threshold, grey = reliability.ood_threshold, dataset.channels == 1
    inside = reliability.ood_scores(images[stratified_sample(labels, MAX_TEST)])
    accepted = inside >= threshold
    forms = _file_forms(images[stratified_sample(labels, MAX_FORMS)], size, grey)
    kinds = outliers.other_datasets(dataset, "test", size, data_root, MAX_OUTLIERS)
    kinds |= {kind: outliers.draw(kind, MAX_PICTURES, grey, size) for kind in outliers.KINDS}

    def against(pictures: np.ndarray) -> dict[str, Any]:
        outside = reliability.ood_scores(pictures)
        passed = outside >= threshold
        return {
            "auroc": ood.auroc(inside, outside),
            "accepted": float(passed.mean()),
            "accepted_interval": wilson(passed.sum(), len(passed)),
            "n": len(passed),
        }

    near_ood = outliers.near_ood(dataset.name, grey, size)
    return {
        "threshold": threshold,
        "test_accepted": float(accepted.mean()),
        "test_accepted_interval": wilson(accepted.sum(), len(accepted)),
        "forms": {
            name: float((reliability.ood_scores(pictures) >= threshold).mean())
            for name, pictures in forms.items()
        },
        "kinds": {kind: against(pictures) for kind, pictures in kinds.items()},
        "near_ood": {kind: against(pictures) for kind, pictures in near_ood.items()},
    }


def _file_forms(images: np.ndarray, size: int, grey: bool) -> dict[str, np.ndarray]:
    """Source images as they are, as JPEG, and enlarged, each converted as an upload: (N, s, s, 3)."""
    as_jpeg = [Image.fromarray(jpeg_round_trip(image, 90)) for image in images]
    enlarged = [Image.fromarray(image).resize((8 * size,) * 2, Image.Resampling.BICUBIC) for image in images]
    return {
        "original": as_rgb(images, grey),
        "JPEG, quality 90": np.stack([to_source(image, size, grey) for image in as_jpeg]),
        "enlarged 8 times": np.stack([to_source(image, size, grey) for image in enlarged]),
    }


def csv_row(checkpoint: Checkpoint, section: dict[str, Any]) -> dict[str, Any]:
    """One row of trust.csv, from the section "trust" of a card."""
    before, after, augmented = section["before"], section["after"], section["tta"]
    row: dict[str, Any] = {
        "subset": checkpoint.dataset.name,
        "model": checkpoint.model_name,
        "n": section["n"],
        "temperature": section["temperature"],
        "tta_ece_before": augmented["before"]["ece"],
        "tta_ece": augmented["after"]["ece"],
        "tta_ece_floor": augmented["after"]["ece_floor"],
        "tta_agreement": augmented["tta_agreement"],
    }
    row |= {f"tta_{key}": augmented[key] for key in ("count", "n", "accuracy_before", "accuracy")}
    row |= after | {f"{key}_before": before[key] for key in ("ece", "brier", "nll")}
    if "prediction_sets" in section:
        row |= _prediction_set_columns(section["prediction_sets"])
    if "kinds" in section["ood"]:
        row |= _ood_columns(section["ood"])
    if "operating" in section:
        areas = section["operating"]
        row |= {key: areas[key] for key in ("auroc", "auprc", "prevalence")}
        for key in ("auroc", "auprc"):
            row[f"{key}_low"], row[f"{key}_high"] = areas[f"{key}_interval"] or ("", "")
    return row


def _prediction_set_columns(prediction_sets: dict[str, Any]) -> dict[str, Any]:
    level = prediction_sets["default_level"]
    measured = prediction_sets["levels"][f"{level:.2f}"]
    row = {key: measured[key] for key in ("coverage", "below_expected", "mean_size")}
    for name, key in (("coverage", "coverage_interval"), ("expected", "expected")):
        row[f"{name}_low"], row[f"{name}_high"] = measured[key]
    return row | {"level": level, "fitted_on": prediction_sets["fitted_on"]}


def _ood_columns(section: dict[str, Any]) -> dict[str, Any]:
    kinds, forms = section["kinds"], section["forms"]
    row = {
        "ood_test_accepted": section["test_accepted"],
        "ood_jpeg_accepted": forms["JPEG, quality 90"],
        "ood_enlarged_accepted": forms["enlarged 8 times"],
    }
    groups = {"datasets": sorted(set(kinds) - set(outliers.KINDS)), "pictures": list(outliers.KINDS)}
    for key in ("auroc", "accepted"):
        for group, names in groups.items():
            if names:
                row[f"ood_{key}_{group}"] = float(np.mean([kinds[name][key] for name in names]))
        if mean := section.get("validation", {}).get("mean"):
            row[f"ood_validation_{key}"] = mean[key]
    worst = max(kinds, key=lambda kind: (kinds[kind]["accepted"], -kinds[kind]["auroc"]))
    row |= {"ood_worst_kind": worst, "ood_worst_auroc": kinds[worst]["auroc"]}
    return row | {"ood_worst_accepted": kinds[worst]["accepted"]}
