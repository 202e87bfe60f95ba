"""Time from `python app.py` to its first page, beside a bare program that imports torch and Gradio."""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import Figure, alternate, ratio

REPOSITORY = Path(__file__).resolve().parents[2]
BARE = """
import sys, torch, gradio
with gradio.Blocks(analytics_enabled=False) as demo:
    pass
demo.launch(server_port=int(sys.argv[2]), ssr_mode=False, quiet=True)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="starts of each program [5]")


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    seconds = alternate(
        {"ours": lambda: _start(REPOSITORY / "app.py"), "bare": lambda: _start("-c", BARE)},
        args.rounds,
        warm_up=1,
    )
    for name in seconds:
        yield Figure(f"startup/{name}", sorted(seconds[name])[args.rounds // 2], "s")
    yield Figure("startup/ratio", ratio(seconds, "ours", "bare"), "x bare", 1.3)


def _start(*program: str | Path) -> None:
    with server(*program):
        pass


@contextmanager
def server(*program: str | Path, log: Path | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run a program that takes --port; yields its address once the first page was served, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, *map(str, program), "--port", str(port)]
    with (log or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)  # noqa: S603
        try:
            while not _serves(address):
                if process.poll() is not None:
                    raise SystemExit(f"The server ended before its first page: {' '.join(command)[:200]}")
                time.sleep(0.02)
            yield address, process
        finally:
            process.terminate()
            process.wait(30)


def _serves(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=60) as page:
            return page.status == 200
    except OSError:
        return False
