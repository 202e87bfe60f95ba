"""`medvit predict` writes one CSV, or says what is wrong."""

import csv

import pytest
from PIL import Image

import medvit
from medvit.data import synthetic
from tests.conftest import run_command


def predict(folder, checkpoints, out, *more):
    return run_command(
        "predict", folder, "--subset", "breastmnist", "--model", "spt_lsa", "--checkpoints", checkpoints,
        "--out", out, *more,
    )  # fmt: skip


def test_it_writes_one_csv(trained, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, name in enumerate(("0.png", "1.png", "=cmd.png")):
        Image.fromarray(synthetic.draw("breastmnist", i)).save(folder / name)
    (folder / "broken.png").write_bytes(b"x")
    done = predict(folder, trained, tmp_path / "out" / "results.csv")
    assert done.returncode == 0, done.stderr
    assert "1 of them could not be read" in done.stdout
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "probability", "set", "in_distribution", "note"]
    assert [row["file"] for row in rows] == ["0.png", "1.png", "'=cmd.png", "broken.png"]
    predictor = medvit.load("breastmnist", "spt_lsa", trained)
    for row, name in zip(rows[:3], ("0.png", "1.png", "=cmd.png"), strict=True):
        assert row["label"] == predictor(folder / name)["label"]
    assert rows[3]["note"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.csv"]


@pytest.mark.parametrize(
    ("more", "message"),
    [((), "nowhere"), (("--batch-size", "0"), "at least 1"), (("--model", "gone"), "There is no")],
)
def test_what_is_wrong_is_one_sentence(trained, tmp_path, more, message):
    done = predict(tmp_path / "nowhere", trained, tmp_path / "r.csv", *more)
    assert done.returncode in (1, 2)
    assert message in done.stderr or "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_csv_that_cannot_be_written_is_one_sentence(trained, tmp_path):
    Image.fromarray(synthetic.draw("breastmnist", 0)).save(tmp_path / "a.png")
    done = predict(tmp_path / "a.png", trained, tmp_path / "a.png" / "r.csv")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    done = predict(tmp_path / "a.png", trained, tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"medvit predict: {tmp_path} is a folder. Name a file with --out.\n",
    )
    done = predict(tmp_path / ("a" * 300), trained, tmp_path / "r.csv")
    assert done.returncode == 1
    assert "cannot be opened (File name too long)" in done.stderr
