"""`medvit app`: starts fast, and says in one sentence why it does not start."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from medvit.commands import app
from medvit.errors import MedvitError
from tests.conftest import REPOSITORY, run_command, running_app

from ..ui.server.http import request


def test_without_checkpoints_it_says_where_they_are_expected(tmp_path):
    done = run_command("app", "--checkpoints", tmp_path)
    assert done.returncode == 1
    assert "There is no checkpoint" in done.stderr
    assert f"{tmp_path}" in done.stderr
    assert "medvit train" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--auth", "nobody"), "USER:PASSWORD"),
        (("--auth", "a:b", "--mcp"), "Choose one"),
        (("--allow-origin", "lab.org"), "not an origin"),
        (("--allow-host", "http://lab.org"), "not a host name"),
        (("--warm",), "unrecognized arguments"),
        (("--model", "no_such_model"), "There is no model no_such_model"),
        (("--model", "no/such-model"), "cannot be fetched"),
        (("--model", REPOSITORY / "docs"), "config.json is missing"),
        (("--memory", "inf"), "--memory: it must be a number above zero, not 'inf'"),
    ],
)
def test_an_option_that_does_not_fit_is_one_sentence(arguments, message):
    done = run_command("app", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_flags_name_is_fetched_before_the_app_goes_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetched = []

    def fetch(name):
        fetched.append((name, constants.HF_HUB_OFFLINE))

    def open_registry(checkpoints, data_root, memory, models):
        fetch(*models)
        return SimpleNamespace(add_pictures=fetch, problems={})

    def end(registry):
        raise MedvitError(f"offline: {constants.HF_HUB_OFFLINE}, {os.environ['HF_HUB_OFFLINE']}")

    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    monkeypatch.setattr(app.Registry, "open", open_registry)
    monkeypatch.setattr(app, "Worker", end)
    done = run_command("app", "--model", "owner/model", "--data", "owner/pictures")
    assert fetched == [("owner/model", False), ("owner/pictures", False)]
    assert done.stderr == "medvit app: offline: True, 1\n"


def test_a_port_that_does_not_exist_is_one_sentence(trained):
    done = run_command("app", "--port", "70000", "--checkpoints", trained)
    assert done.returncode == 1
    assert "port 70000 is taken, or" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.server
def test_a_port_that_is_taken_is_one_sentence(app_server, trained):
    port = app_server.address.rsplit(":", 1)[1]
    command = [sys.executable, str(REPOSITORY / "app.py"), "--port", port, "--checkpoints", str(trained)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_needs_no_slow_import():
    code = (
        "import sys\nfrom medvit.cli import main\n"
        "try:\n    main(['app', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('gradio', 'transformers', 'sklearn', 'scipy', 'peft') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.server
def test_preloaded_models_and_an_allowed_host(trained, tmp_path):
    arguments = ("--checkpoints", trained, "--preload", "--allow-host", "app.example.org")
    with running_app(*arguments, log=tmp_path / "log") as address:
        assert request(address, "GET", "/config", headers={"Host": "app.example.org"})[0] == 200
        assert request(address, "GET", "/config", headers={"Host": "app.example.com"})[0] == 421
