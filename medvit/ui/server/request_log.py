"""One JSON line per request on standard error, without bodies, file names, addresses or queries."""

import json
import re
import sys
import time
from dataclasses import dataclass, field

API = "/gradio_api"


@dataclass
class RequestLog:
    """What is known of one request; `write` prints it."""

    method: str
    path: str
    status: int = 0  # 0: the client left before there was a response
    received: int = 0  # bytes of the body
    started: float = field(default_factory=time.perf_counter)

    def write(self) -> None:
        """Print the line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "received": self.received,
            "ms": round((time.perf_counter() - self.started) * 1000, 1),
        }
        print(json.dumps(line), file=sys.stderr, flush=True)

    @property
    def route(self) -> str:
        """The start of the path, without what names a file, a session, or what the client made up."""
        if self.status == 404:
            return "unknown"
        parts = re.split(r"[=%]", self.path)[0].split("/")
        if not self.path.startswith(API):
            return "/".join(parts[:2])
        return "/".join(parts[: 3 if {"heartbeat", "call"} & set(parts[:3]) else 4])
