import os
import re

import pytest

from medvit.checkpoint import load
from medvit.evaluation import model_card

from .conftest import REPOSITORY, SHIPPED, run_script

FRONT_MATTER = re.compile(r"^---\n(.*?)\n---\n", re.DOTALL)


def test_a_dry_run_prints_what_would_go_and_needs_no_token(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = run_script("publish.py", "--space", "owner/name", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("space owner/name:")
    for wanted in (
        "app.py",
        "README.md",
        "requirements.txt (made for it)",
        "bloodmnist/cnn/model.safetensors",
    ):
        assert wanted in done.stdout
    assert "tests/" not in done.stdout


def test_without_a_token_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = run_script("publish.py", "--space", "owner/name")
    assert done.returncode == 1
    assert "HF_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_model_goes_with_its_card(trained):
    done = run_script("publish.py", "--models", "owner", "--checkpoints", trained, "--dry-run")
    assert "model owner/medvit-breastmnist-spt-lsa" in done.stdout
    assert "README.md (made for it)" in done.stdout


def test_cards_are_written_into_the_folders(trained, tmp_path):
    done = run_script("cards.py", "--checkpoints", trained)
    assert done.returncode == 0, done.stderr
    text = (trained / "breastmnist" / "spt_lsa" / "README.md").read_text()
    assert text == model_card.markdown(load(trained / "breastmnist" / "spt_lsa"))
    for part in (
        "Intended",
        "Out of scope",
        "Reference standard",
        "md5",
        "Calibration",
        "Failures",
        "Limits",
    ):
        assert part in text


@pytest.mark.parametrize("found", SHIPPED, ids=lambda c: f"{c.dataset.name}-{c.model_name}")
def test_a_card_holds_the_figures_and_true_failures(found):
    text = model_card.markdown(found)
    test = found.card["test"]
    low, high = test["accuracy_interval"]
    assert f"| accuracy | {test['accuracy']:.3f} | {low:.3f} to {high:.3f} |" in text
    rows = [row.split(" | ") for row in text.split("## Failures")[1].split("\n") if re.match(r"\| \d", row)]
    assert rows
    for index, truth, said, _ in rows:
        i = int(index.removeprefix("| "))
        assert truth == found.dataset.classes[found.test_labels[i]]
        assert said == found.dataset.classes[found.test_logits[i].argmax()] != truth


def test_the_readme_opens_with_what_a_space_needs():
    front = FRONT_MATTER.match((REPOSITORY / "README.md").read_text())[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines() if re.match(r"[a-z_]+: ", line))
    assert (fields["sdk"], fields["app_file"], fields["python_version"]) == ("gradio", "app.py", '"3.12"')
    assert (REPOSITORY / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    low, high = re.search(
        r"gradio>=([\d.]+),<([\d.]+)", (REPOSITORY / "requirements.txt").read_text()
    ).groups()

    def number(text):
        return [int(part) for part in text.split(".")]

    assert number(low) <= number(fields["sdk_version"]) < number(high)
    assert "HF_TOKEN" not in os.environ or os.environ["HF_TOKEN"] not in front
