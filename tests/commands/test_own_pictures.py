"""From a folder of pictures to a trained, evaluated and opened checkpoint, by the commands."""

import csv
import json
import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medvit import checkpoint
from medvit.commands.dataset_options import card_options
from medvit.commands.train import parse, parse_command, run
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.inference.retrieval import Index
from medvit.training.recipes import recipe, train_command
from medvit.training.sweep import plan_reproduction

from ..conftest import run_command


@pytest.fixture(scope="module")
def own(tmp_path_factory, backbone):
    """A folder of pictures, its cache, and a root with one checkpoint that was trained on it."""
    base = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDVIT_CACHE", str(base / "cache"))
        scans = synthetic.write_pictures(base / "My scans", each=14)
        root = base / "runs"
        done = run_command(
            "train", "--data", scans, "--model", "vit_finetuned", "--backbone", backbone, "--epochs", 1,
            "--size", 32, "--image-size", 32, "--out", root / "my-scans" / "vit_finetuned",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield SimpleNamespace(scans=scans, root=root, folder=root / "my-scans" / "vit_finetuned", done=done)


def test_the_size_is_announced_and_the_card_describes_the_pictures(own):
    assert re.search(r"Preparing My scans: 42 pictures, 0\.1 MB at 32 pixels", own.done.stdout)
    card = json.loads((own.folder / "card.json").read_text())
    assert card["subset"] == "my-scans"
    assert card["dataset"]["classes"] == ["blood cell", "fundus", "tissue"]
    assert str(own.scans.parent) not in (own.folder / "card.json").read_text()
    command = parse_command(card["command"])
    assert (command.data, command.subset, command.size) == ("My scans", None, 32)


def test_reproduce_takes_the_pictures_from_elsewhere(own, tmp_path):
    shutil.copytree(own.root, tmp_path / "runs")
    printed = run_command("sweep", "--reproduce", tmp_path / "runs").stdout
    assert printed.startswith("medvit train --data 'My scans' --model vit_finetuned --seed 0 --size 32 ")
    printed = run_command("sweep", "--reproduce", tmp_path / "runs", "--data", "other/My scans").stdout
    assert printed.startswith(
        "medvit train --data 'other/My scans' --model vit_finetuned --seed 0 --size 32 "
    )
    (job,) = plan_reproduction([checkpoint.load(own.folder)], tmp_path, data="other/My scans")
    assert job.options[:2] == ["--data", "other/My scans"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "My Scans/"], ["--data", "My Scans"]),
        (["--data", "./My Scans", "--skip-unreadable"], ["--data", "My Scans", "--skip-unreadable"]),
        (["--data", "owner/name:config"], ["--data", "owner/name:config"]),
        (["--data", "scans.parquet"], ["--data", "scans.parquet"]),
        (["--subset", "breastmnist"], []),
    ],
)
def test_a_card_names_a_folder_by_its_last_part_and_a_hub_id_in_full(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My Scans").mkdir()
    assert card_options(parse([*options, "--model", "cnn"])) == words
    target = recipe("my-scans", "cnn", 224)
    command = train_command("my-scans", "cnn", target, 0, 224, data_options=words or ["--data", "x"])
    assert shlex.split(command)[2 : 2 + len(words)] == words


def test_evaluate_confirms_the_card(own, tmp_path):
    done = run_command("evaluate", own.folder, "--data", own.scans, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "metrics.csv").open())
    card = json.loads((own.folder / "card.json").read_text())
    assert (row["subset"], row["accuracy"]) == ("my-scans", f"{card['test']['accuracy']:.4f}")
    assert "temperature" in done.stdout  # trust.npz was fitted


def test_other_pictures_are_not_taken_for_those_of_the_checkpoint(own, tmp_path):
    other = shutil.copytree(own.scans, tmp_path / "My scans")
    Image.new("RGB", (40, 40), "red").save(other / "fundus" / "picture 0.png")
    done = run_command("evaluate", own.folder, "--data", other, "--out", tmp_path)
    assert done.returncode == 1
    assert "does not hold the pictures" in done.stderr


def test_the_registry_shows_pictures_classes_and_neighbours(own):
    registry = Registry.open(own.root)
    registry.add_pictures(str(own.scans))
    assert registry.subset_choices() == [("My scans", "my-scans")]
    assert registry.has_data("my-scans")
    images = registry.test_images("my-scans", "vit_finetuned")
    sample = registry.test_sample("my-scans", 0)
    np.testing.assert_array_equal(sample.source, images[0])
    assert {example.truth for example in registry.examples("my-scans")} == {0, 1, 2}
    predictor = registry.predictor("my-scans", "vit_finetuned")
    prediction = predictor.predict(sample.source)
    logits = registry.checkpoint("my-scans", "vit_finetuned").test_logits[0]
    assert prediction.probabilities.argmax() == logits.argmax()
    assert prediction.prediction_set() is not None
    index = Index(predictor.checkpoint, registry.data_root)
    index.build()
    nearest = index.nearest(predictor.features(sample.source), "test", 1)[0]
    assert (nearest.index, nearest.similarity) == (0, pytest.approx(1, abs=1e-2))
    np.testing.assert_array_equal(nearest.pixels, images[0])


def test_predict_names_the_model_by_the_folder_of_its_pictures(own, tmp_path):
    done = run_command(
        "predict", own.scans / "fundus", "--data", own.scans, "--model", "vit_finetuned",
        "--checkpoints", own.root, "--out", tmp_path / "out.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(rows) == 14
    assert {row["label"] for row in rows} <= {"blood cell", "fundus", "tissue"}


def test_a_checkpoint_of_pictures_at_another_size_is_left_out_with_the_reason(own, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(own.folder, tmp_path / "my-scans" / name)
    path = tmp_path / "my-scans" / "second" / "card.json"
    card = json.loads(path.read_text()) | {"model": "another"}
    card["dataset"]["digest"] = "f" * 64
    path.write_text(json.dumps(card))
    registry = Registry.open(tmp_path)
    assert [name for _, name in registry.model_choices("my-scans")] == ["vit_finetuned"]
    assert "trained or tested on other pictures" in " ".join(registry.problems.values())


def test_a_hostile_description_of_pictures_is_refused(own, tmp_path):
    folder = shutil.copytree(own.folder, tmp_path / "checkpoint")
    card = json.loads((folder / "card.json").read_text())
    card["dataset"]["name"] = card["subset"] = "../../etc"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(checkpoint.MedvitError, match="no usable 'name'"):
        checkpoint.load(folder)


def test_a_model_from_elsewhere_is_measured_and_opened(own, tmp_path):
    folder = shutil.copytree(own.folder, tmp_path / "elsewhere")
    (folder / "card.json").unlink()
    done = run_command(
        "evaluate", "--model", folder, "--data", own.scans, "--size", 32, "--save", tmp_path / "measured",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = checkpoint.load(tmp_path / "measured" / "my-scans" / "elsewhere")
    own_logits = checkpoint.load(own.folder).test_logits
    np.testing.assert_allclose(measured.test_logits, own_logits, atol=2e-2)
    again = run_command(
        "evaluate", "--model", folder, "--data", own.scans, "--size", 32, "--save", tmp_path / "measured"
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert "exists already" in again.stderr


def test_duplicates_across_splits_are_reported_before_training(own, tmp_path, backbone):
    scans = synthetic.write_pictures(tmp_path / "scans", each=5, splits=("train", "val", "test"))
    shutil.copy(scans / "train" / "fundus" / "picture 0.png", scans / "test" / "fundus" / "again.png")
    done = run_command(
        "train", "--data", scans, "--model", "vit_finetuned", "--backbone", backbone, "--epochs", 1,
        "--size", 32, "--image-size", 32, "--out", tmp_path / "out", "--no-trust",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 pair of pictures in two splits have equal pixels" in done.stderr
    assert "train: train/fundus/picture 0.png = test: test/fundus/again.png" in done.stderr


@pytest.mark.parametrize("command", [("train", "--model", "cnn"), ("evaluate", "--model", "x")])
def test_pictures_that_cannot_be_used_leave_nothing_behind(own, tmp_path, command):
    (tmp_path / "bad" / "a").mkdir(parents=True)
    done = run_command(*command, "--data", tmp_path / "bad", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "1 class folders of bad have no picture: a" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_impossible_size_is_refused_before_pictures_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    scans = synthetic.write_pictures(tmp_path / "scans", each=5)
    with pytest.raises(MedvitError, match="The nearest sizes that are possible: 98 and 104"):
        run(parse_command(f"medvit train --data {scans} --model spt_lsa --size 100"))
    assert not (tmp_path / "cache").exists()


def test_one_of_subset_and_data_is_needed():
    assert run_command("train", "--model", "cnn").returncode == 2
    assert run_command("train", "--model", "cnn", "--subset", "bloodmnist", "--data", "x").returncode == 2
    done = run_command("evaluate", "--model", "x")
    assert (done.returncode, "--data FOLDER" in done.stderr) == (1, True)
