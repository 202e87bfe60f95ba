"""Bounds on what Gradio's queue keeps for visitors who do not read their responses."""

import itertools
from typing import Any

import gradio as gr

from medvit import limits


def bound_unread(demo: gr.Blocks) -> None:
    """Limit the messages that wait for one visitor, and for all together."""
    queue = demo._queue
    push, pushes = queue.push, itertools.count()
    unread: Any = queue.pending_messages_per_session

    async def checked(body, request, username):
        own = unread.get(body.session_hash)
        if own and own.qsize() > limits.UNREAD_MESSAGES:
            return False, "Busy: read the messages that wait for you, then try again.", "queue_full"
        if next(pushes) % limits.UNREAD_MESSAGES == 0:  # counting them all takes time
            await _drop_unread(queue)
        return await push(body, request, username)

    queue.push = checked  # type: ignore[method-assign]


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
