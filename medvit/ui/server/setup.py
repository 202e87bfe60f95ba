"""Attach the limits of this package to a Gradio app: `protect` before `launch`, `options` as arguments."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import gradio as gr
import gradio.queueing
import gradio.route_utils
import gradio.routes

from medvit import limits
from medvit.ui.server.cleanup import clean_up_forever
from medvit.ui.server.disk import store_uploads_in_threads
from medvit.ui.server.metrics import Metrics
from medvit.ui.server.middleware import LimitsMiddleware
from medvit.ui.server.origins import OriginPolicy
from medvit.ui.server.protocol import use_bounded_protocol
from medvit.ui.server.queueing import bound_queue, end_unattended_forever
from medvit.ui.server.responses import log_exception
from medvit.ui.server.sessions import SessionHolder, limit_memory_forever
from medvit.ui.server.uploads import BoundedProgress, open_uploads_only


def protect(demo: gr.Blocks) -> None:
    """Open uploads only, bound what is kept of them, and bound the queue."""
    open_uploads_only(demo)
    store_uploads_in_threads()
    gradio.routes.file_upload_statuses = BoundedProgress()
    demo.queue(
        max_size=limits.QUEUE,
        default_concurrency_limit=limits.CONCURRENCY,
        api_open=False,
        status_update_rate=5,
    )
    bound_queue(demo)


def options(
    uploads: Path, policy: OriginPolicy | None = None, log: bool = False, metrics: Metrics | None = None
) -> dict[str, Any]:
    """Arguments of `launch` for privacy and safety.

    Args:
        uploads: the folder that `$GRADIO_TEMP_DIR` names; old files are deleted from it.
        policy: hosts, origins and proxies to trust; by default this machine alone.
        log: one JSON line per request on standard error.
        metrics: what /metrics serves; None: nothing.
    """
    policy = policy or OriginPolicy.of()
    use_bounded_protocol(policy.proxy)
    _hide_request_content()

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        sessions = app.state_holder = SessionHolder(app.get_blocks())
        if metrics:
            metrics.queue, metrics.sessions = app.get_blocks()._queue, sessions
        # Outermost: what app_kwargs["middleware"] names is inside Gradio's own CORS and compression.
        app.middleware_stack = LimitsMiddleware(app.middleware_stack, policy, log, uploads, sessions, metrics)
        async with anyio.create_task_group() as tasks:
            known = app.get_blocks().temp_file_sets  # Gradio never forgets what others delete
            tasks.start_soon(clean_up_forever, uploads, limits.RETENTION_SECONDS, known)
            tasks.start_soon(limit_memory_forever, sessions)
            tasks.start_soon(end_unattended_forever, app.get_blocks()._queue)
            yield
            tasks.cancel_scope.cancel()

    return dict(
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={"lifespan": lifespan, "docs_url": None, "redoc_url": None, "openapi_url": None},
        max_file_size=limits.BULK_BYTES,  # a zip; `imaging.open_image` accepts less
        max_threads=limits.THREADS,
        state_session_capacity=limits.SESSIONS,
    )


def _hide_request_content() -> None:
    """Let Gradio log type and place of an exception, not its text, which may repeat what a visitor sent."""

    def print_exc() -> None:
        error = sys.exception()
        if error:
            log_exception(error)

    for module in (gradio.queueing, gradio.routes, gradio.route_utils):
        module.traceback = SimpleNamespace(print_exc=print_exc)  # type: ignore[attr-defined]
