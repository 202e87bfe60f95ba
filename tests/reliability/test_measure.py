import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from medvit import checkpoint
from medvit.reliability import fit, measure, ood
from medvit.reliability.apply import Reliability
from tests.conftest import run_command


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint, to be changed."""
    return shutil.copytree(trained / "breastmnist" / "spt_lsa", tmp_path / "breastmnist" / "spt_lsa")


def test_the_card_has_the_metrics_with_their_intervals(trained):
    section = checkpoint.load(trained / "breastmnist" / "spt_lsa").card["trust"]
    assert section["n"] == 16
    for when in ("before", "after"):
        assert {"ece", "ece_floor", "ece_10", "ece_10_floor", "brier", "nll"} == set(section[when])
    level = section["prediction_sets"]["levels"]["0.90"]
    low, high = level["coverage_interval"]
    assert 0 <= low <= level["coverage"] <= high <= 1
    assert level["below_expected"] == (level["coverage"] < level["expected"][0])
    assert not section["prediction_sets"]["levels"]["0.99"]["possible"]
    assert set(section["operating"]["presets"]) == {"90 % sensitivity", "Youden"}
    assert section["tta"]["count"] == 2
    assert {"photographs", "text pages", "noise", "bloodmnist"} <= set(section["ood"]["kinds"])
    assert set(section["ood"]["validation"]["mean"]) == {"auroc", "accepted"}


def test_without_an_ood_reference_model_the_rest_is_fitted(folder, synthetic_root, monkeypatch):
    monkeypatch.setattr(ood, "reference", lambda root: None)
    section = measure.fit_and_measure(folder, synthetic_root)
    assert "no reference model" in section["ood"]["missing"]
    fitted = checkpoint.load(folder)
    assert (fitted.trust_problem, "ood_means" in fitted.trust) == ("", False)
    assert Reliability.of(fitted).in_distribution(np.zeros((1, 28, 28), np.uint8)) is None


def test_without_a_spread_of_the_features_there_is_no_ood_score(folder, synthetic_root, monkeypatch):
    """As with one training image of each class: the covariance is zero, and every other image is far away."""
    reference = SimpleNamespace(sha256="0" * 64)
    reference.features = lambda images: np.ones((len(images), 4))
    monkeypatch.setattr(ood, "reference", lambda root: reference)
    monkeypatch.setattr(ood, "score", lambda features, arrays: np.full(len(features), -6e10))
    item = checkpoint.load(folder)
    images = np.zeros((4, 28, 28), np.uint8)
    assert fit.fit_ood(item.dataset, images, 28, synthetic_root, folder) == ({}, {})


def test_the_command_fits_confirms_and_writes_the_tables(folder, synthetic_root, tmp_path):
    before = dict(checkpoint.load(folder).trust)
    (folder / checkpoint.TRUST).unlink()
    out = tmp_path / "results"
    common = ("--data-root", synthetic_root, "--out", out, folder)
    done = run_command("evaluate", "--fit", *common)
    assert done.returncode == 0, done.stderr
    after = checkpoint.load(folder).trust
    np.testing.assert_allclose(after["temperature"], before["temperature"], rtol=1e-3, atol=1e-4)
    done = run_command("evaluate", "--robustness", *common)
    assert done.returncode == 0, done.stderr
    with (out / "trust.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == measure.COLUMNS
    assert (row["subset"], row["model"], row["n"]) == ("breastmnist", "spt_lsa", "16")
    areas = [name for name in ("auroc", "auprc") if row[name] == "1.0000"]  # a perfect one has no interval
    perfect = {f"{name}_{end}" for name in areas for end in ("low", "high")}
    assert all(row[column] for column in measure.COLUMNS if column not in perfect)
    assert len((out / "robustness.csv").read_text().splitlines()) == 2 + 7
