import csv
import json
import shutil

import pytest

from medvit import checkpoint

from ..conftest import run_command

TINY = ("--epochs", "1", "--batch-size", "16", "--set", "width=4")


def test_a_sweep_trains_reports_and_exports(synthetic_root, tmp_path):
    arguments = (
        "sweep", "--subsets", "breastmnist", "--models", "cnn", "--seeds", "1",
        "--out", tmp_path / "runs", "--export", tmp_path / "best", "--report", tmp_path / "report.md",
        "--data-root", synthetic_root, "--no-trust", *TINY,
    )  # fmt: skip
    done = run_command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    exported = checkpoint.load(tmp_path / "best" / "breastmnist" / "cnn")
    assert [run["seed"] for run in exported.card["seeds"]] == [0]
    assert "| breastmnist | cnn | 1 |" in (tmp_path / "report.md").read_text()
    assert run_command(*arguments).returncode == 0  # nothing is trained again


@pytest.mark.slow
def test_cross_validation_compares_variants(synthetic_root, tmp_path):
    done = run_command(
        "sweep", "--cross-validate", "2", "--subsets", "breastmnist", "--models", "cnn",
        "--variants", "", "--learning-rate 1e-5", "--jobs", "2", "--out", tmp_path / "runs",
        "--report", tmp_path / "cv.csv", "--data-root", synthetic_root, *TINY,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "cv.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["folds"]) for row in rows] == [("", "2"), ("--learning-rate 1e-5", "2")]
    assert "difference from the first: log-loss" in done.stdout


def test_reproduce_prints_the_command_of_each_card(trained, tmp_path):
    source = trained / "breastmnist" / "spt_lsa"
    shutil.copytree(source, tmp_path / "breastmnist" / "spt_lsa")
    without = shutil.copytree(source, tmp_path / "breastmnist" / "vit")
    card = json.loads((without / "card.json").read_text())
    del card["command"]
    (without / "card.json").write_text(json.dumps(card | {"model": "vit"}))
    done = run_command("sweep", "--reproduce", tmp_path)
    assert done.returncode == 0
    assert "medvit train --subset breastmnist --model spt_lsa --seed 0 --epochs 2\n" in done.stdout
    assert "# breastmnist/vit: not reproducible by one command" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--jobs", "0"), "at least 1"), (("--cross-validate", "1"), "at least 2 folds")],
)
def test_a_mistake_is_one_sentence_and_a_status(arguments, message):
    done = run_command("sweep", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
