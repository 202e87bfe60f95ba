"""Bounds on Gradio's queue: unread messages, jobs without a client, jobs per visitor."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import anyio
import gradio as gr

from medvit import limits

CHECK_SECONDS = 1


def bound_queue(demo: gr.Blocks) -> None:
    """Limit the messages that wait for one visitor and for all together, and the jobs of one visitor."""
    queue = demo._queue
    push, pushes = queue.push, itertools.count()
    unread: Any = queue.pending_messages_per_session

    async def checked(body, request, username):
        own = unread.get(body.session_hash)
        if own and own.qsize() > limits.UNREAD_MESSAGES:
            return False, "Busy: read the messages that wait for you, then try again.", "queue_full"
        if any(_is_job(event, body) for event in _events(queue)):
            return False, "Busy: your last job is still running.", "queue_full"
        if next(pushes) % limits.UNREAD_MESSAGES == 0:  # counting them all takes time
            await _drop_unread(queue)
        return await push(body, request, username)

    queue.push = checked  # type: ignore[method-assign]


def _events(queue: Any) -> Iterator[Any]:
    """Events that run or wait."""
    for job in queue.active_jobs:
        yield from job or ()
    for waiting in queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue


def _is_job(event: Any, body: Any) -> bool:
    """Whether an event is the same long job, of the same visitor, as a request asks for."""
    same = event.session_hash == body.session_hash and event.fn._id == body.fn_index
    return same and event.alive and event.fn.types_generator


async def _drop_unread(queue: Any) -> None:
    """Drop the messages of the visitors with the most unread ones until all together are within the limit."""
    messages, events = queue.pending_messages_per_session, queue.pending_event_ids_session
    counts = {session: waiting.qsize() for session, waiting in list(messages.items())}
    while sum(counts.values()) > limits.TOTAL_UNREAD_MESSAGES:
        session = max(counts, key=lambda name: counts[name])
        await queue.clean_events(session_hash=session)
        messages.pop(session, None)
        counts.pop(session)
    for session in [session for session in events if session not in messages]:
        events.pop(session, None)  # Gradio never removes them


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
