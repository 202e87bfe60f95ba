"""The process that answers the API under load."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import service
from medvit.inference.registry import Registry
from medvit.inference.worker import Worker

from .conftest import REPOSITORY

MODEL = ("breastmnist", "spt_lsa")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(6):
        Image.fromarray(synthetic.draw("breastmnist", i)).resize((100, 90)).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(6)]


@pytest.fixture
def worker(trained):
    worker = Worker(Registry.open(trained))
    yield worker
    if worker._process:
        worker._process.end()


@pytest.fixture(scope="module")
def started(trained):
    worker = Worker(Registry.open(trained))
    worker.start()
    yield worker
    worker._process.end()


def _pid(worker):
    worker._process.address.result(60)
    return worker._process._popen.pid


def test_one_at_a_time_needs_no_process(worker, pictures):
    for picture in pictures[:2]:
        assert worker.ask("predict", *MODEL, picture) == service.answer(
            worker.registry, "predict", *MODEL, picture
        )
    assert worker._process is None


def test_it_answers_as_the_server_does(started, pictures):
    assert _pid(started) != os.getpid()
    questions = [("predict", *MODEL, picture) for picture in pictures]
    questions += [("explain", *MODEL, picture, "rollout", -1, None, "") for picture in pictures]
    with ThreadPoolExecutor(12) as pool:
        received = list(pool.map(lambda question: started.ask(*question), questions))
    for question, one in zip(questions, received, strict=True):
        own = service.answer(started.registry, *question)
        assert one.keys() == own.keys()
        assert one["label"] == own["label"]
        if question[0] == "predict":
            assert one["probabilities"] == pytest.approx(own["probabilities"], abs=1e-5)
        else:
            assert one["map"] == [pytest.approx(row, abs=1e-5) for row in own["map"]]


def test_the_second_at_once_starts_it(worker, pictures):
    def ask(picture):
        return worker.ask("predict", *MODEL, picture)["label"]

    with ThreadPoolExecutor(6) as pool:
        for _ in range(100):
            labels = list(pool.map(ask, pictures))
            if worker._process:
                break
    assert _pid(worker)
    assert list(map(ask, pictures)) == labels


def test_a_refusal_is_the_same_sentence(started, pictures, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no picture")
    for question in (
        ("predict", "breastmnist", "nothing", pictures[0]),
        ("predict", *MODEL, str(tmp_path / "no.png")),
        ("predict", *MODEL, None),
        ("explain", *MODEL, pictures[0], "attention", 99, None, ""),
        ("explain", *MODEL, pictures[0], "attention", -1, None, "nothing"),
    ):
        with pytest.raises(MedvitError) as own:
            service.answer(started.registry, *question)
        with pytest.raises(MedvitError) as theirs:
            started.ask(*question)
        assert str(theirs.value) == str(own.value)


def test_when_it_dies_another_takes_over(started, pictures):
    expected = started.ask("predict", *MODEL, pictures[0])["label"]
    first = _pid(started)
    os.kill(first, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(started.ask, "predict", *MODEL, pictures[0])
        time.sleep(0.5)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(MedvitError, match="Try again"):
            waiting.result()
    assert started.ask("predict", *MODEL, pictures[0])["label"] == expected
    assert _pid(started) != first


def test_when_it_is_stuck_another_takes_over(started, pictures, monkeypatch):
    first = _pid(started)
    monkeypatch.setattr("medvit.worker.ANSWER_SECONDS", 0.5)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(MedvitError, match="Try again"):
        started.ask("predict", *MODEL, pictures[0])
    monkeypatch.undo()
    assert started.ask("predict", *MODEL, pictures[0])["label"]
    assert _pid(started) != first


def test_without_it_the_server_answers(worker, pictures, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    worker.start()
    assert worker.ask("predict", *MODEL, pictures[0])["label"]


def test_it_ends_with_the_server_however_that_ends(trained, tmp_path):
    code = (
        "import os, sys\nfrom medvit.store import Store\nfrom medvit.worker import Worker\n"
        "worker = Worker(Store.open(sys.argv[1]))\nworker.start()\n"
        "print(worker._process._popen.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained)],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    pid = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            assert not list(tmp_path.glob("pymp-*"))
            return
        time.sleep(0.1)
    pytest.fail("it outlived the server by 10 seconds")
