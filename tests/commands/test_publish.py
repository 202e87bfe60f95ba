import re
from pathlib import Path

import pytest

from medvit.commands import publish
from tests.conftest import REPOSITORY, run_command


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)


def test_a_dry_run_lists_the_files_of_a_space_and_needs_no_token():
    done = run_command("publish", "--space", "owner/name", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("space owner/name:")
    paths = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()[1:]]
    assert {
        "app.py",
        "README.md",
        "medvit/cli.py",
        "requirements.txt (generated)",
        "checkpoints/bloodmnist/cnn/model.safetensors",
    } <= set(paths)
    assert not [path for path in paths if path.startswith(("tests/", ".github/", ".ci/"))]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (REPOSITORY / "README.md").read_text())
    assert len(links) > 10
    assert set(links) <= {path.removesuffix(" (generated)") for path in paths}


def test_a_space_with_other_checkpoints_has_only_these(trained):
    done = run_command("publish", "--space", "owner/name", "--checkpoints", trained, "--dry-run")
    assert done.returncode == 0, done.stderr
    paths = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()[1:]]
    weights = {path for path in paths if path.endswith("model.safetensors")}
    assert "checkpoints/breastmnist/spt_lsa/model.safetensors" in weights
    assert "checkpoints/_ood_reference/model.safetensors" in weights
    assert not [path for path in weights if "bloodmnist" in path]


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    done = run_command("publish", "--space", "owner/name", "--checkpoints", tmp_path, "--dry-run")
    problem = f"There is no usable checkpoint below {tmp_path}."
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"medvit publish: {problem}\n")


def test_what_an_earlier_version_had_is_deleted(monkeypatch, trained):
    calls = []

    class Api:
        def __init__(self, token):
            calls.append(token)

        def create_repo(self, name, **options):
            calls.append((name, options["repo_type"]))

        def upload_folder(self, *, folder_path, delete_patterns, **options):
            calls.append((sorted(path.name for path in Path(folder_path).iterdir()), delete_patterns))
            return "https://hub/owner"

    monkeypatch.setattr(publish, "HfApi", Api)
    monkeypatch.setenv("HF_TOKEN", "secret")
    done = run_command("publish", "--models", "owner", "--checkpoints", trained)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "uploaded: https://hub/owner")
    assert calls[:2] == ["secret", ("owner/medvit-breastmnist-spt-lsa", "model")]
    files, deleted = calls[2]
    assert {"model.safetensors", "README.md", "card.json"} <= set(files)
    assert deleted == "*"
    assert "secret" not in done.stdout + done.stderr


def test_without_a_token_nothing_is_uploaded():
    done = run_command("publish", "--space", "owner/name")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "HF_TOKEN" in done.stderr


def test_without_a_target_nothing_is_uploaded():
    assert "Name a --space, or an owner of --models." in run_command("publish").stderr


def test_each_model_is_uploaded_with_its_card(trained):
    done = run_command("publish", "--models", "owner", "--checkpoints", trained, "--dry-run")
    assert "model owner/medvit-breastmnist-spt-lsa" in done.stdout
    assert "README.md (generated)" in done.stdout
