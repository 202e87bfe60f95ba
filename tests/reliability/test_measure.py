import csv
import shutil

import numpy as np
import pytest

from medvit import checkpoint
from medvit.reliability import measure
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
    assert all(row[column] for column in measure.COLUMNS)
    assert len((out / "robustness.csv").read_text().splitlines()) == 2 + 7
