"""Files and requests made to crash or exhaust the app: how many of them succeed.

Opens each file as an upload is opened, all in one process that has to survive them. Then attacks a server on
this machine, while an honest visitor asks it for predictions.
"""

import argparse
import faulthandler
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medvit import imaging
from medvit.argument_types import positive
from medvit.benchmarks import hostile_server
from medvit.benchmarks.common import Measurement
from medvit.benchmarks.hostile_files import corpus
from medvit.errors import MedvitError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark hostile`."""
    add = parser.add_argument
    add(
        "--also", metavar="DIR", nargs="*", default=[],
        help="folders of more files, such as Tests/images of Pillow's source archive",
    )  # fmt: skip
    add("--no-files", action="store_true", help="leave out the files")
    names = sorted(hostile_server.ALL_ATTACKS)
    add("--attacks", nargs="*", choices=names, default=names, help="on the server; none: only the files")
    add("--seconds", type=positive, default=12, help="of each attack [12]")


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the measurements over the files, then those of the attacks."""
    if not args.no_files:
        yield from _measure_files(args.also)
    if args.attacks:
        yield from hostile_server.measure(args.attacks, args.seconds)


def _measure_files(also: list[str]) -> Iterator[Measurement]:
    """Crashes, bugs, time and memory, over the generated files and over each further folder."""
    for folder in (None, *also):
        outcomes, crashed = open_in_process(folder)
        name = f"hostile/{folder or 'generated'}"
        bugs = [outcome for outcome in outcomes if outcome["outcome"].startswith("bug")]
        for outcome in bugs:
            print(outcome, file=sys.stderr)
        opened = sum(outcome["outcome"] == "opened" for outcome in outcomes)
        slowest = max(outcome["seconds"] for outcome in outcomes)
        memory = max(outcome["megabytes"] for outcome in outcomes)
        yield Measurement(f"{name}/files", len(outcomes), "files", None if folder else 300, at_least=True)
        yield Measurement(f"{name}/opened", opened, "files")
        yield Measurement(f"{name}/crashes", int(crashed), "crashes", 0)
        yield Measurement(f"{name}/bugs", len(bugs), "files", 0)
        yield Measurement(f"{name}/slowest", slowest, "s of CPU", 5)
        yield Measurement(f"{name}/memory", memory, "MB above idle", 600)


def open_in_process(folder: str | None = None) -> tuple[list[dict[str, Any]], bool]:
    """Open the generated files, or those of a folder, in a process of its own.

    Returns:
        {"name", "outcome", "seconds" of CPU, "megabytes" above idle} of each file, and whether the process
        crashed; the outcome is "opened", the sentence of the refusal, or "bug: ...".
    """
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "medvit.benchmarks.hostile",
        *([folder] if folder else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)  # noqa: S603
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode != 0


def open_all(files: Iterable[tuple[str, bytes]]) -> None:
    """Open each file and print a JSON line about it; one that takes two minutes ends the process."""
    for name, data in files:
        faulthandler.dump_traceback_later(120, exit=True)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak of memory
        before, started = _memory("VmRSS"), time.thread_time()
        try:
            imaging.read_source(data)
            outcome = "opened"
        except MedvitError as error:
            outcome = str(error)
        except Exception as error:  # what the benchmark looks for
            outcome = f"bug: {error!r}"
        faulthandler.cancel_dump_traceback_later()
        seconds, megabytes = time.thread_time() - started, _memory("VmHWM") - before
        line = {"name": name, "outcome": outcome, "seconds": seconds, "megabytes": megabytes}
        print(json.dumps(line), flush=True)


def _memory(field: str) -> float:
    """A field of /proc/self/status in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()


if __name__ == "__main__":
    open_all(_files(Path(sys.argv[1])) if len(sys.argv) > 1 else corpus())
