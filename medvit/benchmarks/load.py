"""Many users at once on a real server: errors, wrong answers, waiting times, throughput, memory.

Each user sends the next request when the last was answered: uploads an image and asks for the prediction, for
an explanation map, or for a confusion matrix. Each answer is compared with the one that a single user got.
"""

import argparse
import io
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

import medvit
from medvit.argument_types import at_least, positive
from medvit.benchmarks.client import ENDPOINTS, REQUEST_ERRORS, Client, same_answer
from medvit.benchmarks.common import Measurement, server
from medvit.benchmarks.processes import cpu_seconds, resident_megabytes
from medvit.data import synthetic
from medvit.evaluation.metrics import confusion
from medvit.inference.batching import MAX_BATCH

IMAGES = 12
WEIGHTS = (6, 2, 2)  # of ENDPOINTS among the requests
TARGET = 0.75  # throughput, x batched rate without a server
# `medvit` as uvicorn serves it by default: with httptools, where that is installed, and without time limits.
HTTPTOOLS = (
    "import sys, httptools\n"
    "from medvit import cli\n"
    "from medvit.ui.server import protocol\n"
    "protocol.use_bounded_protocol = lambda behind_proxy=False: None\n"
    "cli.main(sys.argv[1:])\n"
)
PARSERS = {"h11": ("-m", "medvit"), "httptools": ("-c", HTTPTOOLS)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark load`."""
    add = parser.add_argument
    add("--users", type=at_least(1), default=64, help="[64]")
    add("--seconds", type=positive, default=120, help="duration [120]")
    add("--subset", default="bloodmnist", help="[bloodmnist]")
    add("--model", default="vit_finetuned", help="[vit_finetuned]")
    add("--parser", choices=PARSERS, default="h11", help="of HTTP; httptools has to be installed [h11]")
    add("--side", type=at_least(1), default=224, help="side of the uploaded images in pixels [224]")


@dataclass
class _Results:
    """What all users measured; filled from many threads."""

    waits: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ENDPOINTS})
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    memory: list[float] = field(default_factory=list)  # MB, at even intervals
    server_cpu: float = 0.0  # seconds
    users_cpu: float = 0.0


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the measurements of one run, with the speed of the same work without a server around it."""
    images = [_png(args.subset, i, args.side) for i in range(IMAGES)]
    before = _seconds_without_server(args, images)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with server(*PARSERS[args.parser], "app", "--preload", log=log) as (address, process):
            results = _run_users(args, address, process.pid, images)
        if "Traceback" in (text := log.read_text()):
            print(text[-3000:], file=sys.stderr)
    after = _seconds_without_server(args, images)
    for error in sorted(set(results.errors))[:10]:
        print(error, file=sys.stderr)
    alone = {name: (before[name] + after[name]) / 2 for name in before}
    yield from _measurements(args, results, alone)


def _measurements(
    args: argparse.Namespace, results: _Results, alone: dict[str, float]
) -> Iterator[Measurement]:
    """`alone`: seconds an answer without a server, in full batches, by endpoint."""
    for name, waits in results.waits.items():
        yield Measurement(f"load/{name}/answers", len(waits), "answers")
        yield Measurement(f"load/{name}/median wait", statistics.median(waits), "s")
    waits = [seconds for values in results.waits.values() for seconds in values]
    ideal = sum(alone[name] * len(values) for name, values in results.waits.items()) / len(waits)
    p95, rate = float(np.quantile(waits, 0.95)), len(waits) / args.seconds
    yield Measurement("load/errors", len(results.errors), "answers", 0)
    yield Measurement("load/wrong", results.wrong, "answers", 0)
    yield Measurement("load/p95", p95, "s")
    queueing = p95 / (args.users * ideal)
    yield Measurement("load/p95 against ideal queueing", queueing, "x users x seconds alone", 3)
    yield Measurement(
        "load/throughput", rate * ideal, "x batched rate without a server", TARGET, at_least=True
    )
    yield Measurement("load/rate", rate, "answers/s")
    yield Measurement("load/rate without a server", 1 / ideal, "answers/s")
    yield Measurement("load/CPU of the server", results.server_cpu / len(waits) * 1e3, "ms an answer")
    yield Measurement("load/CPU of the users", results.users_cpu / len(waits) * 1e3, "ms an answer")
    quarter = len(results.memory) // 4
    second, last = results.memory[quarter : 2 * quarter], results.memory[-quarter:]
    growth = statistics.mean(last) / statistics.mean(second)
    yield Measurement("load/memory", growth, "x second quarter", 1.05)
    yield Measurement("load/memory at most", max(results.memory), "MB")


def _png(subset: str, index: int, side: int) -> bytes:
    """A synthetic image as an enlarged PNG file."""
    image = Image.fromarray(synthetic.draw(subset, index)).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _seconds_without_server(args: argparse.Namespace, images: list[bytes]) -> dict[str, float]:
    """Seconds an answer, in full batches on all cores, decoding included."""
    predictor = medvit.load(args.subset, args.model)
    files = images * 6
    method = predictor.methods()[0]

    def predict(count: int) -> None:
        for start in range(0, count, MAX_BATCH):
            batch = files[start : min(count, start + MAX_BATCH)]
            predictor.predict_many([predictor.source(file) for file in batch])

    def explain() -> None:
        for prediction in predictor.predict_many([predictor.source(f) for f in files[:MAX_BATCH]]):
            predictor.heatmap(prediction, method)

    def matrix() -> None:
        confusion(predictor.checkpoint.test_logits, predictor.checkpoint.test_labels)

    def seconds(run) -> float:
        run()
        times = []
        for _ in range(5):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    return {
        "predict": seconds(lambda: predict(len(files))) / len(files),
        "explain": seconds(explain) / MAX_BATCH,
        "confusion_matrix": seconds(matrix),
    }


def _run_users(args: argparse.Namespace, address: str, pid: int, images: list[bytes]) -> _Results:
    """Let many users send requests at once for the given time."""
    results = _Results()
    single = Client(address, args.subset, args.model)
    expected = {(name, i): single.ask(name, images[i]) for name in ENDPOINTS for i in range(IMAGES)}
    end = time.perf_counter() + args.seconds

    def work(number: int) -> None:
        client, rng = Client(address, args.subset, args.model), Random(number)  # noqa: S311
        while time.perf_counter() < end:
            (name,), i = rng.choices(ENDPOINTS, WEIGHTS), rng.randrange(IMAGES)
            started = time.perf_counter()
            try:
                answer = client.ask(name, images[i])
            except REQUEST_ERRORS as error:
                results.errors.append(f"{name}: {error!r}")
                client = Client(address, args.subset, args.model)
                continue
            results.waits[name].append(time.perf_counter() - started)
            results.wrong += not same_answer(answer, expected[name, i])

    server_cpu, users_cpu = cpu_seconds(pid), time.process_time()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(args.users)]
    for thread in threads:
        thread.start()
    while time.perf_counter() < end:
        results.memory.append(resident_megabytes(pid))
        time.sleep(args.seconds / 120)
    for thread in threads:
        thread.join()
    results.server_cpu = cpu_seconds(pid) - server_cpu
    results.users_cpu = time.process_time() - users_cpu
    return results
