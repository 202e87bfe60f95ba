"""What a server did and holds, in the text format of Prometheus (--metrics)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medvit.inference.registry import Registry
from medvit.inference.worker import Worker
from medvit.ui.server.protocol import BoundedH11Protocol
from medvit.ui.server.request_log import RequestLog

if TYPE_CHECKING:
    from prometheus_client import Metric

# Why a request was refused, by the status of its response.
REASONS = {
    400: "malformed",
    401: "not logged in",
    403: "foreign origin",
    404: "unknown",
    408: "too slow",
    413: "too large",
    414: "address too long",
    416: "range",
    421: "unknown host",
    422: "wrong form",
    429: "wrong passwords",
    503: "busy",
    507: "disk full",
}


@dataclass(eq=False)
class Metrics:
    """Counts requests, and reads the rest from the parts of the app when `render` is called.

    `queue`: Gradio's queue; `sessions`: the SessionHolder. Both exist once the server has started.
    """

    registry: Registry
    worker: Worker
    queue: Any = ()
    sessions: Any = None
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # (route, status)
    refusals: Counter[str] = field(default_factory=Counter)  # reason

    def count(self, log: RequestLog) -> None:
        """Count a request that has ended."""
        if log.status < 400:  # the route of another one may be made up
            self.requests[log.route, str(log.status or "client left")] += 1
            return
        self.requests["", str(log.status)] += 1
        self.refusals[REASONS.get(log.status, "error" if log.status >= 500 else "other")] += 1

    def render(self) -> tuple[str, str]:
        """Text for Prometheus, and its content type."""
        from prometheus_client import (
            CONTENT_TYPE_LATEST,
            CollectorRegistry,
            ProcessCollector,
            generate_latest,
        )

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # resident memory, CPU seconds, open descriptors
        registry.register(self)
        return generate_latest(registry).decode(), CONTENT_TYPE_LATEST

    def collect(self) -> "Iterator[Metric]":
        """The metrics, as prometheus_client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily("medvit_requests", "Requests answered", labels=("route", "status"))
        for labels, count in list(self.requests.items()):
            requests.add_metric(labels, count)
        yield requests
        refusals = CounterMetricFamily("medvit_refusals", "Requests refused", labels=("reason",))
        for reason, count in list(self.refusals.items()):
            refusals.add_metric((reason,), count)
        yield refusals
        connections = BoundedH11Protocol.open
        closed = CounterMetricFamily("medvit_connections_closed", "Connections cut off", labels=("reason",))
        for reason, count in list(connections.closed.items()):
            closed.add_metric((reason,), count)
        yield closed
        models = self.registry.loaded_models()
        for name, text, value in (
            ("connections", "Open connections", len(connections)),
            ("queue_length", "Requests that wait in the queue", len(self.queue)),
            (
                "sessions",
                "Visitors whose state is kept",
                len(self.sessions.session_data) if self.sessions else 0,
            ),
            ("models_in_memory", "Models loaded in this process", len(models)),
            ("model_bytes", "Weights of the models loaded in this process", sum(models)),
            ("worker_resident_memory_bytes", "Resident memory of the worker process", self._worker_memory()),
        ):
            yield GaugeMetricFamily(f"medvit_{name}", text, value=value)

    def _worker_memory(self) -> int:
        """Bytes; 0 where there is no worker process."""
        import psutil

        try:
            return psutil.Process(self.worker.pid).memory_info().rss if self.worker.pid else 0
        except psutil.Error:  # it has just ended
            return 0
