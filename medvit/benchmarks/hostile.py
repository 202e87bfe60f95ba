"""Hostile picture files: how many crash, hang or swell the program that opens uploads."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.common import Figure
from benchmarks.startup import REPOSITORY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--also", metavar="DIR", nargs="*", default=[],
        help="folders of more files, such as Tests/images of Pillow's source archive",
    )  # fmt: skip


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    for folder in (None, *args.also):
        command = [sys.executable, "-W", "ignore", "-m", "tests.hostile", *([folder] if folder else [])]
        done = subprocess.run(  # noqa: S603
            command, cwd=REPOSITORY, capture_output=True, text=True, env=os.environ | {"MEDVIT_LAZY": "1"}
        )
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
        name = f"hostile/{folder or 'generated'}"
        for one in outcomes:
            if one["outcome"].startswith("bug"):
                print(one, file=sys.stderr)
        yield Figure(f"{name}/files", len(outcomes), "files", None if folder else 300, True)
        yield Figure(f"{name}/opened", sum(one["outcome"] == "opened" for one in outcomes), "files")
        yield Figure(f"{name}/crashes", int(done.returncode != 0), "crashes", 0)
        yield Figure(f"{name}/bugs", sum(one["outcome"].startswith("bug") for one in outcomes), "files", 0)
        yield Figure(f"{name}/slowest", max(one["seconds"] for one in outcomes), "s of CPU", 5)
        yield Figure(f"{name}/memory", max(one["megabytes"] for one in outcomes), "MB above idle", 600)
