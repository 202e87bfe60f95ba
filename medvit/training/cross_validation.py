"""Repeated stratified cross-validation of recipes over the training and validation images together.

A validation split of 78 images cannot tell recipes apart. Here each fold is a run of its own: it trains on
the other folds, predicts its fold after the last epoch, and writes its metrics. Pictures of one group are in
one fold. The test split is not read.
"""

import csv
import datetime
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medvit import files
from medvit.errors import MedvitError, first_line
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import summary
from medvit.reliability import calibration
from medvit.training.dataset import check_memory
from medvit.training.distillation import fit_with_distillation, stratified_folds
from medvit.training.fit_model import TrainingSetup, build
from medvit.training.train import describe, sample
from medvit.training.trainer import training_arguments
from medvit.training.work import already_exists, prepared_work, work_folder

COLUMNS = (
    "date", "dataset", "model", "variant", "learning_rate", "folds",
    "log_loss", "log_loss_se", "calibrated_log_loss", "calibrated_log_loss_se", "auc", "auc_se", "accuracy",
)  # fmt: skip
KEY = ("dataset", "model", "variant")


def evaluate_fold(setup: TrainingSetup, fold: int, folds: int, out: Path, resume: bool = False) -> Path:
    """Train without one fold, predict it after the last epoch, and write the metrics to the JSON file `out`.

    Args:
        fold: counts through all repeats: fold // folds seeds the split, fold % folds is the fold in it.
        resume: go on from the state that a killed run left. A finished fold is left as it is.

    Raises:
        MedvitError: as `medvit.training.train.train`, or no such fold.
    """
    if folds < 2 or fold < 0:
        raise MedvitError(f"There is no fold {fold} of {folds}: at least 2 folds, counted from 0.")
    out = Path(out).resolve()
    built = build(setup)
    setup = replace(setup, recipe=replace(setup.recipe, image_size=built.preprocessing.size))
    description, groups = describe_fold(setup, fold, folds), setup.load_groups("train", "val")
    if out.exists():
        if resume and description.items() <= json.loads(out.read_text()).items():
            return out
        raise already_exists(out)
    parts = setup.load("train"), setup.load("val")
    copies = 3  # joined, without the fold, and as tensors
    check_memory(copies * sum(len(labels) for _, labels in parts), setup.size)
    images, labels = map(np.concatenate, zip(*parts, strict=True))
    rest, held_out = list(stratified_folds(labels, folds, fold // folds, groups))[fold % folds]
    chosen = rest[sample(labels[rest], setup.recipe, setup.seed)]
    training = images[chosen], labels[chosen]
    groups = None if groups is None else groups[chosen]
    work = work_folder(out)
    with prepared_work(work, training_arguments(setup.recipe, work, setup.seed), description, resume):
        fitted, seconds = fit_with_distillation(setup, built, training, None, work, groups)
    if fitted.args.process_index == 0:
        logits, _ = predict(fitted.model, fitted.preprocessing, images[held_out])
        metrics = summary(logits, labels[held_out], setup.dataset.task)
        metrics["calibrated_loss"] = calibration.calibrated_loss(logits, labels[held_out])
        today = datetime.date.today().isoformat()
        result = description | metrics | {"n": len(held_out), "seconds": round(seconds, 1), "date": today}
        with files.atomic_file(out) as file:
            file.write(json.dumps(result, indent=1).encode())
        shutil.rmtree(work)
    return out


def describe_fold(setup: TrainingSetup, fold: int, folds: int) -> dict[str, Any]:
    """Return what identifies the run of one fold, as `medvit.training.train.describe` does."""
    groups = setup.load_groups("train", "val")
    counted = {} if groups is None else {"groups": len(np.unique(groups))}
    return describe(setup) | {"fold": fold, "folds": folds} | counted


def mean_and_error(values: Sequence[float], folds: int) -> tuple[float, float]:
    """Return the mean over folds and its standard error, NaN for a single value.

    The error is corrected for the overlap of the training sets: variance * (1/n + 1/(folds - 1)) in place of
    variance / n (Nadeau and Bengio, Machine Learning 52, 2003).
    """
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    variance = float(np.var(values, ddof=1))
    return float(np.mean(values)), math.sqrt(variance * (1 / len(values) + 1 / (folds - 1)))


def row(model: str, variant: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row of the table, `COLUMNS`, from the results of a variant's folds."""
    folds = results[0]["folds"]
    log_loss, log_loss_se = mean_and_error([result["loss"] for result in results], folds)
    calibrated, calibrated_se = mean_and_error([result["calibrated_loss"] for result in results], folds)
    auc, auc_se = mean_and_error([result["auc"] for result in results], folds)
    return {
        "date": max(result["date"] for result in results),
        "dataset": results[0]["subset"],
        "model": model,
        "variant": variant,
        "learning_rate": results[0]["recipe"]["learning_rate"],
        "folds": len(results),
        "log_loss": round(log_loss, 5),
        "log_loss_se": round(log_loss_se, 5),
        "calibrated_log_loss": round(calibrated, 5),
        "calibrated_log_loss_se": round(calibrated_se, 5),
        "auc": round(auc, 5),
        "auc_se": round(auc_se, 5),
        "accuracy": round(float(np.mean([result["accuracy"] for result in results])), 5),
    }


def difference(results: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]], key: str) -> str:
    """Return the difference of a metric from a reference on the folds that both have, with its error."""
    values = {result["fold"]: result[key] for result in reference}
    pairs = [result[key] - values[result["fold"]] for result in results if result["fold"] in values]
    if not pairs:
        return "no fold in common"
    mean, error = mean_and_error(pairs, results[0]["folds"])
    return f"{mean:+.4f} ± {error:.4f}"


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a csv file that `update_csv` wrote; none where there is no such file.

    Raises:
        MedvitError: it cannot be read, or has other columns.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            names, rows = set(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedvitError(f"{path} cannot be read as a table ({first_line(error)}).") from error
    if not set(KEY) <= names <= set(COLUMNS):
        raise MedvitError(f"{path} has other columns than a table of cross-validations. Name another file.")
    return rows


def update_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows to a csv file; rows of the same dataset, model and variant are replaced, all others kept.

    Raises:
        MedvitError: see `read_csv`.
    """
    rows = list(rows)
    replaced = {tuple(str(row[key]) for key in KEY) for row in rows}
    kept = [old for old in read_csv(path) if tuple(old[key] for key in KEY) not in replaced]
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_file(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*kept, *rows])
