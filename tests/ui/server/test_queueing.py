"""Unread responses do not accumulate."""

import json
import time
from types import SimpleNamespace

import anyio
import pytest

from medvit import limits
from medvit.ui.server import queueing
from medvit.ui.server.queueing import bound_queue
from tests.conftest import running_app

from .http import JSON, request, run_async


@pytest.mark.server
def test_a_visitor_who_reads_nothing_is_refused_in_the_end(trained, tmp_path):
    with running_app("--checkpoints", trained, log=tmp_path / "log") as address:
        config = json.loads(request(address, "GET", "/config")[2])
        number = next(d["id"] for d in config["dependencies"] if d["api_name"] == "confusion_matrix")

        def join(session):
            body = {"data": ["x" * 100_000, "y"], "session_hash": session, "fn_index": number}
            return request(address, "POST", "/gradio_api/queue/join", json.dumps(body), JSON)

        responses = []
        for _ in range(3 * limits.UNREAD_MESSAGES):
            responses.append(join("deaf"))
            if responses[-1][0] != 200:
                break
            time.sleep(0.02)
        assert responses[0][0] == 200
        assert responses[-1][0] == 503
        assert b"read the messages" in responses[-1][2]
        assert join("another")[0] == 200


def test_visitors_with_the_most_unread_messages_lose_theirs():
    waiting = {f"visitor {i}": SimpleNamespace(qsize=lambda i=i: i) for i in range(100)}
    cleaned = []

    async def clean_events(session_hash):
        cleaned.append(session_hash)

    async def push(body, request, username):
        return True, body.session_hash, "success"

    events = {"long gone": {"a"}, "visitor 1": {"b"}, "visitor 99": {"c"}}
    queue = SimpleNamespace(
        push=push,
        clean_events=clean_events,
        pending_messages_per_session=waiting,
        pending_event_ids_session=events,
        active_jobs=[],
        event_queue_per_concurrency_id={},
    )
    bound_queue(SimpleNamespace(_queue=queue))
    response = run_async(queue.push, request_of("visitor 1", 7), None, None)
    assert response == (True, "visitor 1", "success")
    assert cleaned == [f"visitor {i}" for i in range(99, 99 - len(cleaned), -1)]
    assert sum(messages.qsize() for messages in waiting.values()) <= limits.TOTAL_UNREAD_MESSAGES
    assert len(waiting) == 100 - len(cleaned) > 50
    assert events == {"visitor 1": {"b"}}


def request_of(session, number):
    """What a visitor asks the queue for."""
    return SimpleNamespace(session_hash=session, fn_index=number)


class Queue:
    """As much of Gradio's queue as the limits use."""

    def __init__(self, *events):
        self.active_jobs = [None, list(events)]
        self.event_queue_per_concurrency_id = {}
        self.pending_messages_per_session = {}
        self.pending_event_ids_session = {}
        self.cleaned = []

    async def push(self, body, request, username):
        return True, body.session_hash, "success"

    async def clean_events(self, *, event_id):
        self.cleaned.append(event_id)


def event(name, session, number=7, generator=True):
    fn = SimpleNamespace(_id=number, types_generator=generator)
    return SimpleNamespace(_id=name, session_hash=session, fn=fn, alive=True)


def test_a_visitor_runs_a_job_once_at_a_time():
    queue = Queue(event("a", "visitor 1"), event("b", "visitor 2", generator=False))
    bound_queue(SimpleNamespace(_queue=queue))

    def push(session, number=7):
        return run_async(queue.push, request_of(session, number), None, None)[0]

    assert not push("visitor 1")
    assert push("visitor 1", number=8)
    assert push("visitor 2")
    assert push("visitor 3")


def test_a_job_ends_when_its_client_does_not_read(monkeypatch):
    monkeypatch.setattr(queueing, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "UNATTENDED_SECONDS", 0.1)
    queue = Queue(event("unread", "left"), event("read", "here"), event("short", "left", generator=False))
    queue.pending_messages_per_session = {
        "left": SimpleNamespace(empty=lambda: False),
        "here": SimpleNamespace(empty=lambda: True),
    }

    async def watch():
        with anyio.move_on_after(0.5):
            await queueing.stop_unattended_jobs_forever(queue)

    run_async(watch)
    assert set(queue.cleaned) == {"unread"}


@pytest.mark.server
def test_a_full_queue_says_so_at_once(trained, tmp_path):
    code = (
        "import sys, time\n"
        "from medvit import cli, limits\n"
        "from medvit.inference.registry import Registry\n"
        "limits.QUEUE = limits.CONCURRENCY = 1\n"
        "checkpoint = Registry.checkpoint\n"
        "def slow(self, *name):\n"
        "    time.sleep(3)\n"
        "    return checkpoint(self, *name)\n"
        "Registry.checkpoint = slow\n"
        "cli.main(['app', *sys.argv[1:]])\n"
    )
    with running_app("--checkpoints", trained, log=tmp_path / "log", code=code) as address:
        body = json.dumps({"data": ["breastmnist", "spt_lsa"]})
        responses = [
            request(address, "POST", "/gradio_api/call/confusion_matrix", body, JSON) for _ in range(5)
        ]
        refused = next(response for response in responses if response[0] == 503)
        assert b"Queue is full" in refused[2]
        assert refused[1]["retry-after"] == "5"
