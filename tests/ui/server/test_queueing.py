"""Places in the queue and unread messages are limited and shared by address."""

import asyncio
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

        def join(session, source="127.0.0.1"):
            body = {"data": ["x" * 100_000, "y"], "session_hash": session, "fn_index": number}
            return request(address, "POST", "/gradio_api/queue/join", json.dumps(body), JSON, source)

        responses = []
        for _ in range(3 * limits.UNREAD_MESSAGES):
            responses.append(join("deaf"))
            if b"read the messages" in responses[-1][2]:
                break  # before that, the queue may be full for a moment on a slow machine
            time.sleep(0.02)
        assert responses[0][0] == 200
        assert responses[-1][0] == 503
        assert b"read the messages" in responses[-1][2]
        assert join("another", "127.0.0.2")[0] == 200  # of another address: this one may fill its share


def request_of(session, number=7):
    """What a visitor asks the queue for."""
    return SimpleNamespace(session_hash=session, fn_index=number)


def client(address):
    """A request from an address."""
    return SimpleNamespace(client=SimpleNamespace(host=address))


def event(name, session, number=7, generator=True, address="a"):
    fn = SimpleNamespace(_id=number, types_generator=generator)
    return SimpleNamespace(
        _id=name, session_hash=session, fn=fn, alive=True, concurrency_id="model", address=address, round=0
    )


def messages(count):
    """Messages that wait to be read."""
    waiting = asyncio.Queue()
    for _ in range(count):
        waiting.put_nowait("message")
    return waiting


class Queue:
    """As much of Gradio's queue as the limits use. `running` by name, `waiting` in order."""

    def __init__(self, *events):
        self.active_jobs = [None, list(events)]
        self.waiting = []
        self.event_queue_per_concurrency_id = {
            "model": SimpleNamespace(queue=self.waiting, concurrency_limit=16, current_concurrency=0)
        }
        self.pending_messages_per_session = {}
        self.pending_event_ids_session = {}
        self.event_ids_to_events = {}
        self.cleaned = []

    def __len__(self):
        return len(self.waiting)

    async def push(self, body, request, username):
        name = f"event {len(self.event_ids_to_events)}"
        new = event(name, body.session_hash, body.fn_index, False)
        self.event_ids_to_events[name] = new
        self.waiting.append(new)
        self.pending_messages_per_session.setdefault(body.session_hash, messages(1))
        self.pending_event_ids_session.setdefault(body.session_hash, set()).add(name)
        return True, name, "success"

    async def process_events(self, events):
        """Nothing, as if the events had been ended."""

    async def clean_events(self, *, event_id=None, session_hash=None):
        self.cleaned.append(event_id or session_hash)
        self.waiting[:] = [each for each in self.waiting if each._id != event_id]

    def run_next(self):
        """Start the next event, as Gradio does; its address, None if none may start."""
        taken = self.get_events()
        if taken is None:
            return None
        self.active_jobs.append(taken[0])
        self.event_queue_per_concurrency_id["model"].current_concurrency += 1
        return taken[0][0].address


def bounded(*events):
    """A queue within the limits, and a function that pushes to it; whether it succeeded."""
    queue = Queue(*events)
    bound_queue(SimpleNamespace(_queue=queue))

    def push(session, number=7, address="a"):
        return run_async(queue.push, request_of(session, number), client(address), None)[0]

    return queue, push


def test_one_address_cannot_fill_the_queue():
    queue, push = bounded()
    accepted = [push(f"greedy {i}") for i in range(limits.QUEUE)]
    assert sum(accepted) == limits.QUEUE // 2
    assert all(push(f"other {i}", address="b") for i in range(limits.QUEUE // 4))
    assert not push("greedy again")


def test_the_first_request_of_an_address_is_served_before_the_next_ones_of_others():
    queue, push = bounded()
    for i in range(40):
        push(f"greedy {i}")
    for i in range(2):
        push(f"other {i}", address="b")
    started = [queue.run_next() for _ in range(16)]
    assert started[:4] == ["a", "b", "a", "b"]
    assert started[4:14] == ["a"] * 10
    assert started[14:] == [None] * 2  # kept for addresses that have none
    push("third", address="c")
    assert queue.run_next() == "c"
    assert queue.run_next() is None


def test_requests_of_one_address_are_served_in_their_order():
    queue, push = bounded()
    served = []
    for i in range(20):
        push(str(i))
        if i == 9:
            served += [queue.get_events()[0][0].session_hash for _ in range(8)]
    served += [queue.get_events()[0][0].session_hash for _ in range(12)]
    assert served == [str(i) for i in range(20)]


def test_the_address_with_the_most_unread_messages_loses_its_oldest():
    queue, push = bounded()
    queue.pending_event_ids_session["long gone"] = {"a"}
    for i in range(50):
        push(f"greedy {i}")
    push("other", address="b")
    for session in queue.pending_messages_per_session:
        queue.pending_messages_per_session[session] = messages(50)
    queue.waiting.clear()
    for _ in range(limits.UNREAD_MESSAGES):
        push("another", address="c")
        queue.waiting.clear()
    assert queue.cleaned == [f"greedy {i}" for i in range(len(queue.cleaned))]
    unread = sum(waiting.qsize() for waiting in queue.pending_messages_per_session.values())
    assert unread <= limits.TOTAL_UNREAD_MESSAGES + limits.UNREAD_MESSAGES
    assert 0 < len(queue.cleaned) < 50
    assert "long gone" not in queue.pending_event_ids_session


def test_made_up_sessions_of_one_address_do_not_push_out_the_messages_of_others(monkeypatch):
    monkeypatch.setattr(limits, "PENDING_SESSIONS", 40)
    queue, push = bounded()
    push("other", address="b")
    for i in range(2 * limits.PENDING_SESSIONS):
        push(f"made up {i}")
        queue.waiting.clear()
    assert "other" in queue.pending_messages_per_session
    assert len(queue.pending_messages_per_session) <= limits.PENDING_SESSIONS // 2 + 1


def test_a_visitor_runs_a_job_once_at_a_time():
    queue, push = bounded(event("a", "visitor 1"), event("b", "visitor 2", generator=False))
    assert not push("visitor 1")
    assert push("visitor 1", number=8)
    assert push("visitor 2")
    assert push("visitor 3")


@pytest.fixture
def watch(monkeypatch):
    """Runs `end_unattended_forever` for a while, with short limits."""
    monkeypatch.setattr(queueing, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(limits, "UNATTENDED_SECONDS", 0.05)
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.1)

    async def run(queue):
        with anyio.move_on_after(0.5):
            await queueing.end_unattended_forever(queue)

    return lambda queue: run_async(run, queue)


def test_jobs_and_waiting_requests_end_when_their_client_does_not_read(watch):
    queue = Queue(event("unread", "left"), event("read", "here"), event("short", "left", generator=False))
    queue.waiting += [event("waits", "left", generator=False), event("attended", "here", generator=False)]
    queue.pending_messages_per_session = {"left": messages(1), "here": messages(0)}
    queue.pending_event_ids_session = {"left": {"unread", "waits"}}
    watch(queue)
    assert set(queue.cleaned) == {"unread", "waits"}
    assert [each._id for each in queue.waiting] == ["attended"]
    left = queue.pending_messages_per_session["left"]
    left.get_nowait()
    end = left.get_nowait()  # for whoever listens after all
    assert (end.event_id, end.success) == ("waits", False)


def test_an_answer_that_nobody_reads_is_dropped(watch):
    queue = Queue(event("runs", "busy", generator=False))
    queue.pending_messages_per_session = {"left": messages(3), "here": messages(0), "busy": messages(1)}
    watch(queue)
    assert set(queue.pending_messages_per_session) == {"here", "busy"}


def test_who_listens_to_a_job_that_was_ended_gets_an_end():
    queue, push = bounded()
    push("visitor")
    (job,) = queue.event_ids_to_events.values()
    run_async(queue.process_events, [job])
    assert queue.pending_messages_per_session["visitor"].qsize() == 1
    job.alive = False
    run_async(queue.process_events, [job])
    assert queue.pending_messages_per_session["visitor"].qsize() == 2


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
        assert b"queue is full" in refused[2]
        assert refused[1]["retry-after"] == "5"
