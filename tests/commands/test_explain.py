import json

import pytest
from PIL import Image

from medvit.data import synthetic
from tests.conftest import run_command


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(synthetic.draw("breastmnist", 1)).resize((90, 90)).save(path)
    return path


def test_it_prints_the_classes_and_writes_an_overlay(trained, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_command("explain", image, "--model", trained / "breastmnist" / "spt_lsa")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(line.split("  ")[-1] for line in lines[:2]) == ["malignant", "normal, benign"]
    assert lines[2].startswith("scan-relevance.png: Relevance of ")
    assert Image.open(tmp_path / "scan-relevance.png").size == (336, 336)


def test_any_model_of_transformers_is_explained(backbone, image, tmp_path):
    config = json.loads((backbone / "config.json").read_text())
    out = tmp_path / "new" / "map.png"
    done = run_command(
        "explain", image, "--model", backbone, "--method", "rollout", "--target", "7", "--out", out
    )
    assert done.returncode == 0, done.stderr
    assert (
        f"{out}: Rollout of {config['id2label']['7'] if 'id2label' in config else 'LABEL_7'}." in done.stdout
    )
    assert Image.open(out).width == 336


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "flu"], "There is no class 'flu'. The classes are 0 to 1: malignant, normal, benign."),
        (["--target", "2"], "There is no class '2'"),
        (["--out", "/proc/map.png"], "cannot be written"),
    ],
)
def test_impossible_options_are_refused_in_a_sentence(trained, image, arguments, words):
    done = run_command("explain", image, "--model", trained / "breastmnist" / "spt_lsa", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_unknown_models_and_images_are_refused_in_a_sentence(trained, image, tmp_path):
    for arguments in (
        [tmp_path / "none.png", "--model", trained / "breastmnist" / "spt_lsa"],
        [image, "--model", tmp_path / "no-model"],
    ):
        done = run_command("explain", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("medvit explain: ")
