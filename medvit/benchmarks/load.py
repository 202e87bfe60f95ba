"""Many users at once on a real server: errors, wrong answers, waiting times, throughput, memory.

Each user asks again as soon as the answer is there: uploads a picture and asks for the classes, for a map
where the server has /explain, or for a confusion matrix. Every answer is compared with what a lone user
got before.
"""

import argparse
import http.client
import io
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import Figure
from benchmarks.startup import REPOSITORY, server
from medvit.data import synthetic

PICTURES = 12
TOLERANCE = 1e-4  # of a probability
SHARES = {"predict": 6, "explain": 2, "confusion_matrix": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--users", type=int, default=64, help="[64]")
    add("--seconds", type=float, default=120, help="how long they ask [120]")
    add("--subset", default="bloodmnist", help="[bloodmnist]")
    add("--model", default="vit_finetuned", help="[vit_finetuned]")
    add("--side", type=int, default=224, help="of the pictures sent, in pixels [224]")


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    pictures = [_png(args.subset, i, args.side) for i in range(PICTURES)]
    before = _in_process(args, pictures)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with server(REPOSITORY / "app.py", "--warm", log=log) as (address, process):
            run = _run(args, address, process.pid, pictures)
        if "Traceback" in (text := log.read_text()):
            print(text[-3000:], file=sys.stderr)
    after = _in_process(args, pictures)
    for error in sorted(set(run.errors))[:10]:
        print(error, file=sys.stderr)
    waits = [seconds for one in run.waits.values() for seconds in one]
    asked = {name: len(one) for name, one in run.waits.items() if one}
    for name, count in asked.items():
        yield Figure(f"load/{name}/answers", count, "answers")
        yield Figure(f"load/{name}/median wait", statistics.median(run.waits[name]), "s")
    # What the machine would need for the same mix without a server, in full batches.
    ideal = sum((before[name] + after[name]) / 2 * count for name, count in asked.items()) / len(waits)
    yield Figure("load/errors", len(run.errors), "answers", 0)
    yield Figure("load/wrong", run.wrong, "answers", 0)
    yield Figure("load/p95", float(np.quantile(waits, 0.95)), "s")
    yield Figure(
        "load/p95 against ideal queueing",
        float(np.quantile(waits, 0.95)) / (args.users * ideal),
        "x users x seconds alone",
        3,
    )
    yield Figure(
        "load/throughput", len(waits) / args.seconds * ideal, "x batched rate without a server", 0.8, True
    )
    yield Figure("load/rate", len(waits) / args.seconds, "answers/s")
    yield Figure("load/rate without a server", 1 / ideal, "answers/s")
    for name, seconds in (("server", run.server_cpu), ("users", run.users_cpu)):
        yield Figure(f"load/CPU of the {name}", seconds / len(waits) * 1e3, "ms an answer")
    quarter = len(run.memory) // 4
    second, last = run.memory[quarter : 2 * quarter], run.memory[-quarter:]
    yield Figure("load/memory", statistics.mean(last) / statistics.mean(second), "x second quarter", 1.05)
    yield Figure("load/memory at most", max(run.memory), "MB")


def _png(subset: str, index: int, side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw(subset, index)).resize((side, side), Image.Resampling.BICUBIC).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


ALONE = """
import json, sys, time
import numpy as np
import medvit
from medvit.batcher import LARGEST
from medvit.evaluation.metrics import confusion
subset, model, *paths = sys.argv[1:]
predictor = medvit.load(subset, model)
pictures = [open(path, "rb").read() for path in paths] * 6
def predict():
    for start in range(0, len(pictures), LARGEST):
        predictor.predict_many(np.stack([predictor.source(p) for p in pictures[start : start + LARGEST]]))
def explain():
    method = predictor.methods()[0]
    for one in predictor.predict_many(np.stack([predictor.source(p) for p in pictures[:LARGEST]])):
        predictor.heatmap(one, method)
def matrix():
    confusion(predictor.checkpoint.test_logits, predictor.checkpoint.test_labels)
def seconds(run, items):
    run()
    times = []
    for _ in range(5):
        start = time.perf_counter(); run(); times.append(time.perf_counter() - start)
    return sorted(times)[2] / items
print(json.dumps({"predict": seconds(predict, len(pictures)), "explain": seconds(explain, LARGEST),
                  "confusion_matrix": seconds(matrix, 1)}))
"""


def _in_process(args: argparse.Namespace, pictures: list[bytes]) -> dict[str, float]:
    """Seconds an answer without any server, in full batches, decoding included."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, picture in enumerate(pictures):
            path = Path(folder) / f"{i}.png"
            path.write_bytes(picture)
            paths.append(str(path))
        command = [sys.executable, "-c", ALONE, args.subset, args.model, *paths]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


class _Run:
    """What many users met; filled from many threads."""

    def __init__(self) -> None:
        self.waits: dict[str, list[float]] = {name: [] for name in SHARES}
        self.errors: list[str] = []
        self.wrong = 0
        self.memory: list[float] = []
        self.server_cpu = self.users_cpu = 0.0  # seconds


def _run(args: argparse.Namespace, address: str, pid: int, pictures: list[bytes]) -> _Run:
    run = _Run()
    alone = _User(address, args)
    names = alone.endpoints()
    expected = {(name, i): alone.ask(name, pictures[i]) for name in names for i in range(PICTURES)}
    until = time.perf_counter() + args.seconds

    def work(number: int) -> None:
        user, lot = _User(address, args), random.Random(number)  # noqa: S311
        user.endpoints()
        while time.perf_counter() < until:
            name = lot.choice([name for name in names for _ in range(SHARES[name])])
            i = lot.randrange(PICTURES)
            started = time.perf_counter()
            try:
                answer = user.ask(name, pictures[i])
            except (OSError, http.client.HTTPException, ValueError) as error:
                run.errors.append(f"{name}: {error!r}")
                user = _User(address, args)
                user.endpoints()
                continue
            run.waits[name].append(time.perf_counter() - started)
            run.wrong += not _same(answer, expected[name, i])

    server_cpu, users_cpu = _cpu(pid), time.process_time()
    users = [threading.Thread(target=work, args=(number,)) for number in range(args.users)]
    for one in users:
        one.start()
    while time.perf_counter() < until:
        run.memory.append(_resident(pid))
        time.sleep(args.seconds / 120)
    for one in users:
        one.join()
    run.server_cpu, run.users_cpu = _cpu(pid) - server_cpu, time.process_time() - users_cpu
    return run


class _User:
    """A client of the HTTP API with one connection and one session, as cheap as Python has it."""

    def __init__(self, address: str, args: argparse.Namespace):
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=300)
        self.session = uuid.uuid4().hex
        self.args = args

    def request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        self.connection.request(method, f"/gradio_api{path}", body, {"Content-Type": kind})
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise ValueError(f"{path}: {response.status} {text[:300]!r}")
        return text

    def endpoints(self) -> list[str]:
        """The endpoints of `SHARES` that the server has; keeps the defaults of their further arguments."""
        described = json.loads(self.request("GET", "/info"))["named_endpoints"]
        self.more = {}
        for name in SHARES:
            if f"/{name}" in described:
                parameters = described[f"/{name}"]["parameters"]
                known = 2 if name == "confusion_matrix" else 3  # subset, model, image
                self.more[name] = [one.get("parameter_default") for one in parameters[known:]]
        return list(self.more)

    def ask(self, name: str, picture: bytes) -> Any:
        """One answer, as the browser gets it: upload, join the queue, wait."""
        data: list[Any] = [self.args.subset, self.args.model]
        if name != "confusion_matrix":
            form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="picture.png"\r\n\r\n'
            form += picture + b"\r\n--x--\r\n"
            (path,) = json.loads(self.request("POST", "/upload", form, "multipart/form-data; boundary=x"))
            data.append({"path": path, "meta": {"_type": "gradio.FileData"}})
        body = json.dumps({"data": data + self.more[name], "session_hash": self.session}).encode()
        joined = json.loads(self.request("POST", f"/call/{name}", body))
        text = self.request("GET", f"/call/{name}/{joined['event_id']}").decode()
        lines = text.strip().splitlines()
        if "event: complete" not in lines:
            raise ValueError(f"no answer: {text[-300:]}")
        return json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))


def _same(one: Any, other: Any) -> bool:
    """Equal, but for rounding and for where files lie."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - {"path", "url"}
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=TOLERANCE)
    return one == other


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    started = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return [pid, *(one for child in started for one in _family(child))]


def _resident(pid: int) -> float:
    """Memory of a process and those it started, in MB; what they share counts once for each."""
    texts = [Path(f"/proc/{one}/status").read_text() for one in _family(pid)]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("VmRSS")]
    return sum(int(line.split()[1]) for line in lines) / 1024


def _cpu(pid: int) -> float:
    """Seconds that all cores together have spent on a process and those it started."""
    texts = [Path(f"/proc/{one}/stat").read_text() for one in _family(pid)]
    fields = [text.rpartition(")")[2].split() for text in texts]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")
