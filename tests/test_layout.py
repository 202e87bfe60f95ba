"""The package: layers, no unpickling, and one command that starts fast and reports errors in one sentence."""

import re
import subprocess
import sys
import tomllib

import pytest

import medvit
from medvit import cli
from medvit.commands import download

from .conftest import REPOSITORY, run_command

SOURCES = [
    *(REPOSITORY / "medvit").rglob("*.py"),
    *(REPOSITORY / "scripts").glob("*.py"),
    REPOSITORY / "app.py",
]


def test_the_import_contracts_hold():
    lint = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    assert lint.lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True) == 0


def test_nothing_unpickles_or_runs_remote_code():
    for path in SOURCES:
        text = path.read_text()
        for word in ("torch.load(", "import pickle", "allow_pickle=True", "trust_remote_code=True"):
            assert word not in text, (path, word)


def test_no_module_changes_the_import_path():
    assert [path for path in SOURCES if "sys.path" in path.read_text()] == []


def test_the_help_lists_each_command_and_imports_no_slow_library():
    code = "import sys\nfrom medvit.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted(m for m in ('torch', 'numpy', 'gradio', 'transformers') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert all(f"\n  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command):
    done = run_command(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: medvit {command}")


def test_each_script_is_a_command():
    for path in (REPOSITORY / "scripts").glob("*.py"):
        assert path.stem.replace("_", "-") in cli.COMMANDS


def test_an_error_is_one_sentence_and_status_1():
    done = run_command("evaluate", "/nonexistent")
    assert done.returncode == 1
    assert done.stderr == "medvit evaluate: There is no checkpoint folder /nonexistent.\n"


def test_an_unknown_option_is_refused_by_its_command():
    done = run_command("download", "--map")
    assert done.returncode == 2
    assert "medvit download: error: unrecognized arguments: --map" in done.stderr


def test_an_interruption_is_one_sentence(monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "run", interrupt)
    done = run_command("download", "--all")
    assert (done.returncode, done.stderr) == (130, "medvit download: interrupted\n")


def test_a_reader_of_the_output_may_leave():
    command = f"{sys.executable} -m medvit sweep --reproduce {REPOSITORY / 'checkpoints'} | head -1"
    done = subprocess.run(command, shell=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.startswith("medvit train --subset ")
    assert done.stderr == ""


def test_an_option_has_no_short_form():
    done = run_command("download", "--al")
    assert (done.returncode, "unrecognized arguments: --al" in done.stderr) == (2, True)


def test_a_script_runs_its_command_from_any_folder(tmp_path):
    script = REPOSITORY / "scripts" / "download.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "medvit download: Name at least one subset, or --all.\n")


def test_the_version_is_the_one_of_the_changelog():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert re.search(r"^## ([\d.]+)", changelog, re.MULTILINE)[1] == medvit.__version__


def test_the_package_includes_every_file_that_is_no_module():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["medvit"]
    package = REPOSITORY / "medvit"
    included = {path for pattern in patterns for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others <= included
