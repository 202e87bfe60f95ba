import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from medvit.checkpoint import DEFAULT_ROOT, load
from medvit.commands.evaluate import results_folder
from tests.conftest import run_command


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint that a test may change."""
    return shutil.copytree(trained / "breastmnist" / "spt_lsa", tmp_path / "breastmnist" / "spt_lsa")


def evaluate(folder, synthetic_root, out, *options):
    return run_command("evaluate", folder, "--data-root", synthetic_root, "--out", out, *options)


def test_it_confirms_the_card_and_writes_the_tables(folder, synthetic_root, tmp_path):
    done = evaluate(folder, synthetic_root, tmp_path / "results")
    assert (done.returncode, done.stderr) == (0, "")
    card = json.loads((folder / "card.json").read_text())
    assert f"  accuracy             {card['test']['accuracy']:.4f}\n" in done.stdout
    for name in ("metrics.csv", "trust.csv"):
        with (tmp_path / "results" / name).open() as file:
            (row,) = csv.DictReader(file)
        assert (row["subset"], row["model"]) == ("breastmnist", "spt_lsa")
    page = (tmp_path / "results" / "pages" / "breastmnist-spt_lsa.html").read_text()
    assert "Confusion matrix" in page


def test_only_results_of_shipped_checkpoints_go_to_results_by_default(tmp_path):
    assert results_folder(DEFAULT_ROOT / "breastmnist" / "vit") == Path("results")
    assert results_folder(tmp_path / "breastmnist" / "vit") == Path("runs/results")
    assert results_folder(DEFAULT_ROOT / ".." / "runs" / "vit") == Path("runs/results")
    (tmp_path / "link").symlink_to(DEFAULT_ROOT / "breastmnist" / "vit")
    assert results_folder(tmp_path / "link") == Path("results")


def test_results_of_another_checkpoint_leave_those_of_the_shipped_ones(
    folder, synthetic_root, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = run_command("evaluate", folder, "--data-root", synthetic_root)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in Path("runs/results").iterdir()) == [
        "metrics.csv",
        "pages",
        "trust.csv",
    ]
    assert not Path("results").exists()


def test_a_metric_that_differs_from_the_card_is_reported(folder, synthetic_root, tmp_path):
    card = json.loads((folder / "card.json").read_text())
    card["test"]["accuracy"] += 0.01
    (folder / "card.json").write_text(json.dumps(card))
    done = evaluate(folder, synthetic_root, tmp_path)
    assert done.returncode == 1
    assert "the card says" in done.stdout
    assert done.stderr == "medvit evaluate: a metric differs from the card, see above.\n"


def test_a_metric_that_the_card_lacks_is_printed_alone(folder, synthetic_root, tmp_path):
    card = json.loads((folder / "card.json").read_text())
    del card["test"]["macro_precision"], card["backbone"]
    (folder / "card.json").write_text(json.dumps(card))
    done = evaluate(folder, synthetic_root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"macro_precision +0\.\d{4}\n", done.stdout)


def test_tsne_stores_an_embedding_of_the_test_split(folder, synthetic_root, tmp_path):
    assert evaluate(folder, synthetic_root, tmp_path, "--tsne").returncode == 0
    with np.load(folder / "test.npz") as archive:
        (embedding,) = (archive[key] for key in archive.files if key not in ("logits", "labels"))
    assert embedding.shape == (len(load(folder).test_labels), 2)


def test_absent_data_are_one_sentence(folder, tmp_path):
    done = evaluate(folder, tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("medvit evaluate: ")
    assert "medvit download breastmnist" in done.stderr


def test_a_file_in_place_of_a_folder_is_one_sentence(folder, synthetic_root, tmp_path):
    (tmp_path / "file").write_text("")
    done = evaluate(folder, synthetic_root, tmp_path / "file")
    assert (done.returncode, done.stderr) == (
        1, f"medvit evaluate: {tmp_path / 'file' / 'pages'}: Not a directory.\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("--all", "--subset", "breastmnist"),
            "--subset belongs to --model: a checkpoint folder names its dataset itself.",
        ),
        (("somewhere", "--save", "there"), "--save belongs to --model."),
        (("somewhere", "--size", "64"), "--size and --skip-unreadable belong to --model or --data."),
        (("somewhere", "--checkpoints", "there"), "--checkpoints belongs to --all."),
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments, problem):
    done = run_command("evaluate", *arguments)
    assert (done.returncode, done.stderr) == (1, f"medvit evaluate: {problem}\n")


def test_no_folder_is_refused_in_a_sentence():
    assert (
        run_command("evaluate").stderr
        == "medvit evaluate: Name at least one checkpoint folder, or --all, or --model with --data.\n"
    )


def test_a_folder_without_checkpoints_is_one_sentence(tmp_path):
    done = run_command("evaluate", "--all", "--checkpoints", tmp_path / "nowhere")
    problem = f"There is no checkpoint below {tmp_path / 'nowhere'}."
    assert (done.returncode, done.stderr) == (1, f"medvit evaluate: {problem}\n")
