"""Building the index of similar images in the background."""

import threading
import time
from types import SimpleNamespace

from medvit.errors import MedvitError
from medvit.inference.index_builder import IndexBuilder


class SlowIndex:
    """An index that is built once `finish` is set."""

    def __init__(self, name, error=None):
        self.checkpoint = SimpleNamespace(card={"sha256": name})
        self.finish, self.error, self.builds = threading.Event(), error, 0

    def build(self, progress):
        self.builds += 1
        progress(3, 7)
        assert self.finish.wait(10)
        if self.error:
            raise self.error


def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened")


def test_indices_are_built_one_after_the_other_and_each_once():
    builder, first, second = IndexBuilder(), SlowIndex("a"), SlowIndex("b")
    for index in (first, second, first):
        builder.start(index)
    wait_until(lambda: "3 of 7 images" in builder.status(first) or "3 of 7 images" in builder.status(second))
    assert builder.is_running(first)
    assert builder.is_running(second)
    assert first.builds + second.builds == 1
    first.finish.set()
    second.finish.set()
    wait_until(lambda: not builder.is_running(first) and not builder.is_running(second))
    assert (first.builds, second.builds) == (1, 1)


def test_a_failure_is_one_sentence_until_the_next_start():
    builder, index = IndexBuilder(), SlowIndex("a", MedvitError("no data"))
    assert "computed once" in builder.status(index)
    index.finish.set()
    builder.start(index)
    wait_until(lambda: not builder.is_running(index))
    assert builder.status(index) == "That did not work: no data"
