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

from benchmarks.common import Figure, ratio

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
    programs: dict[str, tuple[str | Path, ...]] = {"ours": (REPOSITORY / "app.py",), "bare": ("-c", BARE)}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(-1, args.rounds):  # the first turn warms the disk's cache
        for name, program in programs.items():
            started = time.perf_counter()
            with server(*program):  # whose end is not counted
                waited = time.perf_counter() - started
            if turn >= 0:
                seconds[name].append(waited)
    for name in seconds:
        yield Figure(f"startup/{name}", sorted(seconds[name])[args.rounds // 2], "s")
    yield Figure("startup/ratio", ratio(seconds, "ours", "bare"), "x bare", 1.3)


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
