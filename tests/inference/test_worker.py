"""The worker process that runs the endpoints under load."""

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
from tests.conftest import REPOSITORY

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
    worker.stop()


@pytest.fixture(scope="module")
def started(trained):
    """A worker whose process runs."""
    worker = Worker(Registry.open(trained))
    worker.start()
    yield worker
    worker.stop()


def test_single_calls_need_no_process(worker, pictures):
    for picture in pictures[:2]:
        expected = service.call(worker.registry, "predict", *MODEL, picture)
        assert worker.call("predict", *MODEL, picture) == expected
    assert worker.pid is None


def test_the_process_returns_what_the_server_does(started, pictures):
    assert started.pid not in (None, os.getpid())
    calls = [("predict", *MODEL, picture) for picture in pictures]
    calls += [("explain", *MODEL, picture, "rollout", -1, None, "") for picture in pictures]
    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda call: started.call(*call), calls))
    for call, result in zip(calls, results, strict=True):
        expected = service.call(started.registry, *call)
        assert result.keys() == expected.keys()
        assert result["label"] == expected["label"]
        if call[0] == "predict":
            assert result["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
        else:
            assert result["map"] == [pytest.approx(row, abs=1e-5) for row in expected["map"]]


def test_simultaneous_calls_start_it(worker, pictures):
    def predict(picture):
        return worker.call("predict", *MODEL, picture)["label"]

    with ThreadPoolExecutor(6) as pool:
        for _ in range(100):
            labels = list(pool.map(predict, pictures))
            if worker.pid:
                break
    assert worker.pid
    assert list(map(predict, pictures)) == labels


def test_a_user_error_is_the_same_sentence(started, pictures, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no picture")
    for call in (
        ("predict", "breastmnist", "nothing", pictures[0]),
        ("predict", *MODEL, str(tmp_path / "no.png")),
        ("predict", *MODEL, None),
        ("explain", *MODEL, pictures[0], "attention", 99, None, ""),
        ("explain", *MODEL, pictures[0], "attention", -1, None, "nothing"),
    ):
        with pytest.raises(MedvitError) as expected:
            service.call(started.registry, *call)
        with pytest.raises(MedvitError) as raised:
            started.call(*call)
        assert str(raised.value) == str(expected.value)


def test_a_killed_process_is_replaced(started, pictures):
    expected = started.call("predict", *MODEL, pictures[0])["label"]
    pid = started.pid
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(started.call, "predict", *MODEL, pictures[0])
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MedvitError, match="Try again"):
            call.result()
    assert started.call("predict", *MODEL, pictures[0])["label"] == expected
    assert started.pid != pid


def test_a_process_that_does_not_respond_is_replaced(started, pictures, monkeypatch):
    pid = started.pid
    monkeypatch.setattr("medvit.inference.worker.CALL_SECONDS", 0.5)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MedvitError, match="Try again"):
        started.call("predict", *MODEL, pictures[0])
    monkeypatch.undo()
    assert started.call("predict", *MODEL, pictures[0])["label"]
    assert started.pid != pid


def test_without_a_process_calls_run_in_the_server(worker, pictures, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    worker.start()
    assert worker.call("predict", *MODEL, pictures[0])["label"]


def test_the_process_ends_with_the_server_however_that_ends(trained, tmp_path):
    code = (
        "import os, sys\nfrom medvit.inference.registry import Registry\n"
        "from medvit.inference.worker import Worker\n"
        "worker = Worker(Registry.open(sys.argv[1]))\nworker.start()\n"
        "print(worker.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
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
