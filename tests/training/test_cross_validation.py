import csv
import json
import math

import numpy as np
import pytest

from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.training import fit_model
from medvit.training.cross_validation import (
    COLUMNS,
    difference,
    evaluate_fold,
    mean_and_error,
    row,
    update_csv,
)
from medvit.training.fit_model import TrainingSetup

from .conftest import tiny_recipe


def result(fold, loss, **fields):
    recipe = {"learning_rate": 1e-3}
    metrics = {"loss": loss, "calibrated_loss": loss / 2, "auc": 0.8, "accuracy": 0.7}
    return dict(subset="breastmnist", recipe=recipe, fold=fold, folds=2, date="2025-01-01") | metrics | fields


def test_a_fold_is_held_out_of_training_and_validation_images_and_the_test_split_is_not_read(
    synthetic_root, tmp_path, monkeypatch
):
    splits = []

    def noting(dataset, split, *arguments):
        splits.append(split)
        return load_split(dataset, split, *arguments)

    load_split = fit_model.load_split
    monkeypatch.setattr(fit_model, "load_split", noting)
    recipe = tiny_recipe("breastmnist", "cnn", epochs=1)
    setup = TrainingSetup(medmnist.get("breastmnist"), "cnn", recipe, data_root=synthetic_root)
    counts = []
    for fold in range(2):
        out = evaluate_fold(setup, fold, 2, tmp_path / f"fold{fold}.json")
        metrics = json.loads(out.read_text())
        counts.append(metrics["n"])
        assert metrics["loss"] > 0 and metrics["calibrated_loss"] > 0
        assert metrics["recipe"]["epochs"] == 1
    assert set(splits) == {"train", "val"}
    total = sum(len(load_split(setup.dataset, split, 28, synthetic_root)[1]) for split in ("train", "val"))
    assert sum(counts) == total
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold0.json", "fold1.json"]
    splits.clear()
    evaluate_fold(setup, 0, 2, tmp_path / "fold0.json", resume=True)
    assert not splits  # a finished fold is not repeated
    with pytest.raises(MedvitError, match="no fold"):
        evaluate_fold(setup, 0, 1, tmp_path / "other.json")


def test_the_standard_error_allows_for_overlapping_training_sets():
    values = [0.1, 0.2, 0.3, 0.4]
    mean, error = mean_and_error(values, folds=2)
    assert mean == pytest.approx(0.25)
    assert error == pytest.approx(np.std(values, ddof=1) * math.sqrt(1 / 4 + 1))
    assert math.isnan(mean_and_error([0.1], folds=5)[1])


def test_a_row_summarises_the_folds_of_a_variant():
    entry = row("cnn", "--set ema=0", [result(0, 0.5), result(1, 0.7, date="2025-01-02")])
    assert tuple(entry) == COLUMNS
    assert entry["calibrated_log_loss"] == 0.3
    assert (entry["log_loss"], entry["folds"], entry["date"]) == (0.6, 2, "2025-01-02")


def test_variants_are_compared_on_the_folds_that_both_have():
    reference = [result(0, 0.5), result(1, 0.9)]
    variant = [result(0, 0.4), result(1, 0.8), result(2, 9.0)]
    assert difference(variant, reference, "loss").startswith("-0.1000 ± 0.0000")
    assert difference([result(5, 1.0)], reference, "loss") == "no fold in common"


def test_the_table_keeps_other_variants_and_replaces_its_own(tmp_path):
    table = tmp_path / "results" / "cross_validation.csv"
    update_csv(table, [row("cnn", "", [result(0, 0.5)]), row("vit", "", [result(0, 0.6)])])
    update_csv(table, [row("cnn", "", [result(0, 0.4)])])
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(entry["model"], entry["log_loss"]) for entry in rows] == [("vit", "0.6"), ("cnn", "0.4")]
