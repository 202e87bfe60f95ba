"""Every hostile file is opened or refused with one sentence, in a process that survives them all."""

import json
import subprocess
import sys

import pytest

from .conftest import REPOSITORY


@pytest.fixture(scope="module")
def outcomes():
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.hostile"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_there_are_enough_of_them(outcomes):
    assert len({one["name"] for one in outcomes}) == len(outcomes) >= 300


def test_each_is_opened_or_refused_with_one_sentence(outcomes):
    for one in outcomes:
        said = one["outcome"]
        assert said == "opened" or (said.endswith(".") and "\n" not in said and len(said) < 200), one


def test_whole_pictures_are_opened_and_other_things_are_not(outcomes):
    said = {one["name"]: one["outcome"] for one in outcomes}
    assert all(said[name] == "opened" for name in said if name.startswith("valid"))
    refused = (
        "page.jpg",
        "drawing.png",
        "postscript.png",
        "pickle.png",
        "traversal.zip",
        "bomb.zip",
        "empty.png",
    )
    assert all(said[name] != "opened" for name in (*refused, "flood-comments.gif", "flood-passes.jpg"))


def test_none_takes_more_than_600_megabytes(outcomes):
    assert max(one["megabytes"] for one in outcomes) < 600
