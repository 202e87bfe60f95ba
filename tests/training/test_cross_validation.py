import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from medvit.data import medmnist
from medvit.data.folder import open_dataset
from medvit.data.prepare import load_groups
from medvit.errors import MedvitError
from medvit.training import cross_validation, distillation, fit_model
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
    for folds, message in ((1, "no fold"), (700, "700 folds are too many")):
        with pytest.raises(MedvitError, match=message):
            evaluate_fold(setup, 0, folds, tmp_path / "other.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold0.json", "fold1.json"]


@pytest.fixture
def patients(tmp_path, monkeypatch):
    """Prepared pictures of twelve patients, six of each; patient i has the grey level 20 * i."""
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    scans, rows = tmp_path / "scans", ["file_name,label,group"]
    scans.mkdir()
    for i in range(72):
        Image.new("L", (32, 32), 20 * (i % 12)).save(scans / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i // 12 % 2]},p{i % 12}")
    (scans / "metadata.csv").write_text("\n".join(rows))
    return open_dataset(scans, 28)


@pytest.mark.parametrize("distill_folds", [0, 2])
def test_no_model_is_trained_on_a_patient_whose_pictures_it_predicts(
    patients, tmp_path, monkeypatch, distill_folds
):
    trained_on, predicted = [], []

    def noting_fit(setup, built, training, *arguments):
        trained_on.append({image[0, 0] // 20 for image in training[0]})
        return fit(setup, built, training, *arguments)

    def noting_predict(model, preprocessing, images):
        predicted.append({image[0, 0] // 20 for image in images})
        return predict(model, preprocessing, images)

    fit, predict = distillation.fit_model, cross_validation.predict
    monkeypatch.setattr(distillation, "fit_model", noting_fit)
    monkeypatch.setattr(distillation, "predict", noting_predict)
    monkeypatch.setattr(cross_validation, "predict", noting_predict)
    recipe = tiny_recipe("breastmnist", "cnn", epochs=1, distill_folds=distill_folds)
    setup = TrainingSetup(patients, "cnn", recipe)
    out = evaluate_fold(setup, 0, 5, tmp_path / "fold0.json")
    groups = sorted(load_groups(patients, "train") + load_groups(patients, "val"))
    assert json.loads(out.read_text())["groups"] == len(set(groups)) == len(groups) / 6 == 10
    assert len(trained_on) == len(predicted) == 1 + distill_folds
    for levels, held_out in zip(trained_on, predicted, strict=True):
        assert held_out and not levels & held_out


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


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "dataset,model,variant,more\n", ""])
def test_a_table_with_other_columns_is_refused_and_stays(tmp_path, text):
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(MedvitError, match="other columns than a table of cross-validations"):
        update_csv(table, [row("cnn", "", [result(0, 0.5)])])
    assert table.read_text() == text
