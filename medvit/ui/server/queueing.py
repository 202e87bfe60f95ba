"""Bounds on Gradio's queue: unread messages, jobs without a client, jobs per visitor."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anyio
import gradio as gr

from medvit import limits
from medvit.ui.server.shares import fits, network

CHECK_SECONDS = 0.5


def bound_queue(demo: gr.Blocks) -> None:
    """Share the queue, and the messages that wait to be read, among the addresses of the clients.

    An address may have as many waiting requests as places are free, and requests wait in turns: the first of
    each address, then the second of each. An eighth of the places to run is for addresses that have none.
    """
    queue = demo._queue
    push, pushes = queue.push, itertools.count()
    mailboxes = _Mailboxes(queue)

    async def checked(body, request, username):
        address = _address(request)
        if mailboxes.unread(body.session_hash) > limits.UNREAD_MESSAGES:
            return False, "Busy: read the messages that wait for you, then try again.", "queue_full"
        events = list(_events(queue))
        if any(_is_job(event, body) for event in events):
            return False, "Busy: your last job is still running.", "queue_full"
        own = [event for event in events if _address(event.request) == address]
        waiting = sum(event in own for event in _waiting(queue))
        if not fits(waiting, 1, len(queue), limits.QUEUE):
            return False, "Busy: the queue is full. Try again in a few seconds.", "queue_full"
        if next(pushes) % limits.UNREAD_MESSAGES == 0:  # counting them all takes time
            await mailboxes.limit_messages()
        await mailboxes.make_room(body.session_hash, address)
        success, name, state = await push(body, request, username)
        event = queue.event_ids_to_events.get(name) if success else None
        if event:
            mailboxes.owners[event.session_hash] = address
            _take_turn(queue, event, len(own))
        return success, name, state

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
        running = {
            _address(event.request)
            for job in queue.active_jobs
            for event in job or ()
            if event.concurrency_id == name
        }
        for event in events.queue:
            shared = free > limit // 8 and not event.fn.types_generator  # of long jobs, one an address
            if shared or _address(event.request) not in running:
                events.queue.remove(event)
                return [event], False, name
    return None


def _take_turn(queue: Any, event: Any, turn: int) -> None:
    """Move an event that was just appended to its queue before those that are due in later turns.

    Args:
        turn: how many requests of the same address ran or waited before it.
    """
    event.turn = turn
    waiting = queue.event_queue_per_concurrency_id[event.concurrency_id].queue
    if event in waiting:  # it may run already
        waiting.remove(event)
        position = next((i for i, other in enumerate(waiting) if other.turn > turn), len(waiting))
        waiting.insert(position, event)


class _Mailboxes:
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
        while own and not fits(len(own), 1, len(self.messages), limits.MAILBOXES):
            await self._drop(own.pop(0))

    async def limit_messages(self) -> None:
        """Drop messages while all together exceed the limit: the oldest of the address with the most."""
        self._forget_closed()
        counts = {name: self.unread(name) for name in list(self.messages)}
        totals: Counter[str] = Counter()
        for name, count in counts.items():
            totals[self.owners.get(name, "")] += count
        while totals.total() > limits.TOTAL_UNREAD_MESSAGES:
            address = max(totals, key=lambda name: totals[name])
            session = next(name for name in counts if self.owners.get(name, "") == address)
            totals[address] -= counts.pop(session)
            await self._drop(session)

    async def _drop(self, session: str) -> None:
        await self.queue.clean_events(session_hash=session)
        self.messages.pop(session, None)

    def _forget_closed(self) -> None:
        """Forget sessions without messages, also those that Gradio never removes."""
        for known in (self.owners, self.queue.pending_event_ids_session):
            for session in [session for session in known if session not in self.messages]:
                known.pop(session)


def _events(queue: Any) -> Iterator[Any]:
    """Events that run or wait."""
    for job in queue.active_jobs:
        yield from job or ()
    yield from _waiting(queue)


def _waiting(queue: Any) -> Iterator[Any]:
    for waiting in queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue


def _address(request: Any) -> str:
    return network(request.client.host) if request and request.client else ""


def _is_job(event: Any, body: Any) -> bool:
    """Whether an event is the same long job, of the same visitor, as a request asks for."""
    same = event.session_hash == body.session_hash and event.fn._id == body.fn_index
    return same and event.alive and event.fn.types_generator


async def stop_unattended_jobs_forever(queue: Any) -> None:
    """Stop jobs whose client has not read their messages for UNATTENDED_SECONDS: it left, or never listened.

    A job is an event of a generator function, which ends at its next `yield`.
    """
    unread_since: dict[str, float] = {}
    while True:
        await anyio.sleep(CHECK_SECONDS)
        running = {event._id: event for job in queue.active_jobs for event in job or ()}
        for name in [name for name in unread_since if name not in running]:
            del unread_since[name]
        for name, event in running.items():
            messages = queue.pending_messages_per_session.get(event.session_hash)
            if not event.fn.types_generator or messages is None or messages.empty():
                unread_since.pop(name, None)
            elif (
                time.monotonic() - unread_since.setdefault(name, time.monotonic()) > limits.UNATTENDED_SECONDS
            ):
                await queue.clean_events(event_id=name)
