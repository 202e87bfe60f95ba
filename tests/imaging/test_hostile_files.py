"""Every hostile file is opened, or refused with one sentence."""

import sys

import pytest

from medvit import imaging
from medvit.benchmarks.hostile import open_in_process
from medvit.errors import MedvitError

pytestmark = pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged files
OTHER_FILES = (
    "page.jpg", "drawing.png", "postscript.png", "pickle.png", "traversal.zip", "bomb.zip", "empty.png",
    "flood-comments.gif", "flood-passes.jpg",
)  # fmt: skip


def check_outcomes(outcomes: dict[str, str]) -> None:
    assert len(outcomes) > 500
    for name, outcome in outcomes.items():
        one_sentence = outcome.endswith(".") and "\n" not in outcome and len(outcome) < 200
        assert outcome == "opened" or one_sentence, (name, outcome)
        assert outcome == "opened" or not name.startswith("valid"), (name, outcome)
    assert all(outcomes[name] != "opened" for name in OTHER_FILES)


def test_small_files_are_opened_or_refused_with_one_sentence(hostile_files):
    outcomes = {}
    for name, data in hostile_files.items():
        try:
            imaging.to_source(imaging.open_image(data))
            outcomes[name] = "opened"
        except MedvitError as error:
            outcomes[name] = str(error)
    check_outcomes(outcomes)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_files_of_any_size_are_opened_or_refused_in_one_process_of_limited_memory():
    lines, crashed = open_in_process()
    assert not crashed
    check_outcomes({line["name"]: line["outcome"] for line in lines})
    assert max(line["megabytes"] for line in lines) < 600
