"""Time from `medvit app` to its first page, beside a bare program that imports torch and Gradio."""

import argparse
import time
from collections.abc import Iterator

from medvit.argument_types import at_least
from medvit.benchmarks.common import Measurement, ratio, server

BARE = """
import sys, torch, gradio
with gradio.Blocks(analytics_enabled=False) as demo:
    pass
demo.launch(server_port=int(sys.argv[2]), ssr_mode=False, quiet=True)
"""
PROGRAMS = {"ours": ("-m", "medvit", "app"), "bare": ("-c", BARE)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark startup`."""
    parser.add_argument("--rounds", type=at_least(1), default=5, help="starts of each program [5]")


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the median seconds of each program, and their ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(-1, args.rounds):  # the first turn fills the disk's cache
        for name, program in PROGRAMS.items():
            started = time.perf_counter()
            with server(*program):  # stopping it is not counted
                elapsed = time.perf_counter() - started
            if turn >= 0:
                seconds[name].append(elapsed)
    for name in seconds:
        yield Measurement(f"startup/{name}", sorted(seconds[name])[args.rounds // 2], "s")
    yield Measurement("startup/ratio", ratio(seconds, "ours", "bare"), "x bare", 1.3)
