"""Bounds on Gradio's queue: unread messages, requests without a client, jobs per visitor."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import gradio as gr
from gradio.server_messages import ProcessCompletedMessage

from medvit import limits
from medvit.ui.server.shares import fits, network

CHECK_SECONDS = 0.5


def bound_queue(demo: gr.Blocks) -> None:
    """Share the queue, and the messages that wait to be read, among the addresses of the clients.

    An address may have as many waiting requests as places are free, and requests run round-robin: the first
    of each address, then the second of each. An eighth of the places to run is for addresses that have none.
    """
    queue = demo._queue
    push, pushes = queue.push, itertools.count()
    pending = _PendingMessages(queue)

    async def checked(body, request, username):
        address = _address(request)
        if pending.unread(body.session_hash) > limits.UNREAD_MESSAGES:
            return False, "Busy: read the messages that wait for you, then try again.", "queue_full"
        events = list(_events(queue))
        if any(_is_job(event, body) for event in events):
            return False, "Busy: your last job is still running.", "queue_full"
        own = [event for event in events if event.address == address]
        waiting = sum(event.address == address for event in _waiting(queue))
        if not fits(waiting, 1, len(queue), limits.QUEUE):
            return False, "Busy: the queue is full. Try again in a few seconds.", "queue_full"
        if next(pushes) % limits.UNREAD_MESSAGES == 0:  # counting them all takes time
            await pending.limit_messages()
        await pending.make_room(body.session_hash, address)
        success, name, state = await push(body, request, username)
        event = queue.event_ids_to_events.get(name) if success else None
        if event:
            event.address = address
            pending.owners[event.session_hash] = address
            _insert_in_round(queue, event, own)
        return success, name, state

    process = queue.process_events

    async def processed(events, *arguments):
        try:
            await process(events, *arguments)
        finally:
            for event in events:
                if not event.alive:  # Gradio sends nothing more, not even an end
                    _send_end(queue, event)

    queue.process_events = processed  # type: ignore[method-assign]
    queue.push = checked  # type: ignore[method-assign]
    queue.get_events = lambda: _next_event(queue)  # type: ignore[method-assign]


def _next_event(queue: Any) -> tuple[list[Any], bool, str] | None:
    """The event to run next, as Gradio expects it; the last places are for addresses that have none."""
    names = list(queue.event_queue_per_concurrency_id)
    random.shuffle(names)
    for name in names:
        events = queue.event_queue_per_concurrency_id[name]
        limit = events.concurrency_limit or len(queue.active_jobs)
        free = limit - events.current_concurrency
        if free <= 0 or not events.queue:
            continue
        running = {event.address for event in _running(queue) if event.concurrency_id == name}
        for event in events.queue:
            shared = free > limit // 8 and not event.fn.types_generator  # of long jobs, one an address
            if shared or event.address not in running:
                events.queue.remove(event)
                return [event], False, name
    return None


def _insert_in_round(queue: Any, event: Any, own: list[Any]) -> None:
    """Move an event that was just appended to its queue before those of later rounds (round-robin).

    Its round is the one after the last of its address. An address that had none joins the round that runs.

    Args:
        own: requests of the same address that ran or waited before it.
    """
    name = event.concurrency_id
    rounds = [other.round + 1 for other in own if other.concurrency_id == name]
    rounds += [other.round for other in _running(queue) if other.concurrency_id == name]
    event.round = max(rounds, default=0)
    waiting = queue.event_queue_per_concurrency_id[name].queue
    if event in waiting:  # not where Gradio answered it from its cache
        waiting.remove(event)
        position = next((i for i, other in enumerate(waiting) if other.round > event.round), len(waiting))
        waiting.insert(position, event)


class _PendingMessages:
    """Messages of the queue that wait to be read, by session, and the addresses of the sessions."""

    def __init__(self, queue: Any):
        self.queue = queue
        self.owners: dict[str, str] = {}  # session -> address

    @property
    def messages(self) -> Any:
        """Session -> asyncio.Queue."""
        return self.queue.pending_messages_per_session

    def unread(self, session: str | None) -> int:
        """How many messages wait for a session."""
        waiting = self.messages.get(session)
        return waiting.qsize() if waiting else 0

    async def make_room(self, session: str | None, address: str) -> None:
        """Drop the oldest sessions of an address if a new one exceeds its share."""
        if session in self.messages:
            return
        self._forget_closed()
        own = [name for name in self.messages if self.owners.get(name) == address]
        while own and not fits(len(own), 1, len(self.messages), limits.PENDING_SESSIONS):
            await _drop(self.queue, own.pop(0))

    async def limit_messages(self) -> None:
        """Drop messages while all together exceed the limit: the oldest of the address with the most."""
        self._forget_closed()
        counts = {name: self.unread(name) for name in list(self.messages)}
        owners = {name: self.owners.get(name, "") for name in counts}  # others change while this one waits
        totals: Counter[str] = Counter()
        for name, count in counts.items():
            totals[owners[name]] += count
        while totals.total() > limits.TOTAL_UNREAD_MESSAGES:
            address = max(totals, key=lambda name: totals[name])
            session = next(name for name in counts if owners[name] == address)
            totals[address] -= counts.pop(session)
            await _drop(self.queue, session)

    def _forget_closed(self) -> None:
        """Forget sessions without messages, also those that Gradio never removes."""
        for known in (self.owners, self.queue.pending_event_ids_session):
            for session in [session for session in known if session not in self.messages]:
                known.pop(session)


async def _drop(queue: Any, session: str) -> None:
    """Forget the messages of a session, and end its events; whoever listens gets an error from Gradio."""
    await queue.clean_events(session_hash=session)
    queue.pending_messages_per_session.pop(session, None)


def _events(queue: Any) -> Iterator[Any]:
    """Events that run or wait."""
    yield from _running(queue)
    yield from _waiting(queue)


def _running(queue: Any) -> Iterator[Any]:
    for job in queue.active_jobs:
        yield from job or ()


def _waiting(queue: Any) -> Iterator[Any]:
    for waiting in queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue


def _address(request: Any) -> str:
    return network(request.client.host) if request and request.client else ""


def _is_job(event: Any, body: Any) -> bool:
    """Whether an event is the same long job, of the same visitor, as a request asks for."""
    same = event.session_hash == body.session_hash and event.fn._id == body.fn_index
    return same and event.alive and event.fn.types_generator


async def end_unattended_forever(queue: Any) -> None:
    """End what nobody waits for, until cancelled.

    A client that has read no message for UNATTENDED_SECONDS has left, or never listened. Its requests are
    taken from the queue, and its jobs, events of generator functions, end at their next `yield`; others end
    by themselves soon. Answers are dropped after UNREAD_SECONDS.
    """
    unread: dict[str, float] = {}  # session -> seconds for which messages have been waiting
    while True:
        await anyio.sleep(CHECK_SECONDS)  # counted as this much, so that a busy server blames no client
        messages = list(queue.pending_messages_per_session.items())
        unread = {
            session: unread.get(session, 0) + CHECK_SECONDS
            for session, waiting in messages
            if not waiting.empty()
        }
        ended = [
            *_waiting(queue),
            *(event for event in _running(queue) if event.alive and event.fn.types_generator),
        ]
        for event in ended:
            if unread.get(event.session_hash, 0) > limits.UNATTENDED_SECONDS:
                await _end(queue, event)
        busy = {event.session_hash for event in _events(queue)}
        for session, seconds in unread.items():
            if seconds > limits.UNREAD_SECONDS and session not in busy:
                await _drop(queue, session)


async def _end(queue: Any, event: Any) -> None:
    runs = event in list(_running(queue))
    await queue.clean_events(event_id=event._id)
    if not runs:  # of one that runs, `process_events` sends the end
        _send_end(queue, event)


def _send_end(queue: Any, event: Any) -> None:
    """Tell whoever listens after all that an event has been ended, unless a message says so already."""
    messages = queue.pending_messages_per_session.get(event.session_hash)
    if messages is not None and event._id in queue.pending_event_ids_session.get(event.session_hash, ()):
        output = {"error": "Nobody read the messages of this request, so it was ended. Send it again."}
        messages.put_nowait(ProcessCompletedMessage(event_id=event._id, output=output, success=False))
