"""Waiting times of the screens: from a click to the complete answer, over HTTP, as a browser gets it.

Needs the official archives of the datasets on disk ($MEDVIT_DATA). The time that a browser then takes to draw
is not included.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from medvit.argument_types import at_least
from medvit.benchmarks.common import Measurement
from medvit.errors import MedvitError
from medvit.evaluation.metrics import confusion
from medvit.inference.registry import Registry
from medvit.slow_imports import import_slow_libraries
from medvit.ui import app as ui

TARGETS = {"cold": 500, "warm": 150}  # ms
CELL_TARGET = 150


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark ui`."""
    add = parser.add_argument
    add("--checkpoints", metavar="DIR", help="folder of checkpoints [the shipped ones]")
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add("--rounds", type=at_least(1), default=5, help="turns through all datasets and models once warm [5]")


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the median and the slowest time of each kind of click."""
    registry = Registry.open(args.checkpoints, args.data_root)
    for _, subset in registry.subset_choices():
        if not registry.has_data(subset):
            raise MedvitError(f"This benchmark needs the images of {subset}: medvit download {subset}.")
    with tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        demo = ui.build(registry)
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **ui.launch_options(Path(uploads)))
        import_slow_libraries()
        try:
            for tab in ("Explore", "Test set"):
                yield from _switching(tab, address, registry, args.rounds)
            yield from _cells(address, registry)
        finally:
            demo.close()


class _Page:
    """An open page: sends the events of its components and keeps the values that it displays.

    It knows the app as a browser does, from /config.
    """

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=120)
        config = self.http.get("/config").raise_for_status().json()
        self.components = {item["id"]: item for item in config["components"]}
        self.events = config["dependencies"]
        self.layout = config["layout"]
        self.session = uuid.uuid4().hex[:11]
        self.values = {key: item["props"].get("value") for key, item in self.components.items()}

    def find(self, **props: str) -> int:
        """Id of the component with these properties, such as `label` or `elem_id`."""
        return next(
            key
            for key, item in self.components.items()
            if all(item["props"].get(name) == value for name, value in props.items())
        )

    def open(self, tab: str) -> None:
        """Load the page and select a tab."""
        self.trigger(None, "load")
        self.trigger(_parent(self.layout, self.find(label=tab)), "select", {"index": 0, "value": tab})

    def trigger(self, component: int | None, event: str, data: Any = None) -> float:
        """Milliseconds until the answers to an event have arrived.

        Changed states trigger further events, which a page sends at once: the slowest of them counts.
        `component` None is the page itself.
        """
        milliseconds, changed = self._send(self._listeners(component, event)[0], component, data)
        listeners = [listener for state in changed for listener in self._listeners(state, "change")]
        followers = [self._send(listener, component, data)[0] for listener in listeners]
        return milliseconds + max(followers, default=0.0)

    def _listeners(self, component: int | None, event: str) -> list[dict[str, Any]]:
        """The dependencies of /config that an event of a component triggers."""
        return [
            dependency
            for dependency in self.events
            if any(name == event and component in (None, target) for target, name in dependency["targets"])
        ]

    def _send(self, listener: dict[str, Any], component: int | None, data: Any) -> tuple[float, list[int]]:
        """Milliseconds until the answer, and the states that it changed."""
        body = {
            "data": [self.values[key] for key in listener["inputs"]],
            "event_data": data,
            "fn_index": listener["id"],
            "trigger_id": component,
            "session_hash": self.session,
        }
        started = time.perf_counter()
        if listener["queue"] is False:
            answer = self.http.post("/gradio_api/run/predict", json=body).raise_for_status().json()
        else:
            answer = self._through_queue(body)
        milliseconds = 1000 * (time.perf_counter() - started)
        for key, value in zip(listener["outputs"], answer["data"], strict=True):
            self._keep(key, value)
        return milliseconds, answer.get("changed_state_ids") or []

    def _through_queue(self, body: dict[str, Any]) -> dict[str, Any]:
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        parameters = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=parameters) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(message["output"])
                    return message["output"]
        raise RuntimeError("the server closed the connection without an answer")

    def _keep(self, component: int, value: Any) -> None:
        """Store a new value, as a page does; an update may leave the value as it is."""
        if isinstance(value, dict) and value.get("__type__") == "update":
            if "value" not in value:
                return
            value = value["value"]
        self.values[component] = value


def _parent(layout: dict[str, Any], component: int) -> int:
    """Id of the layout block around a component: of the tabs around a tab."""
    blocks = [layout]
    while blocks:
        block = blocks.pop()
        children = block.get("children") or []
        if any(child["id"] == component for child in children):
            return block["id"]
        blocks += children
    raise LookupError(f"component {component} is not in the layout")


def _switching(tab: str, address: str, registry: Registry, rounds: int) -> Iterator[Measurement]:
    """Times of switching to each dataset and model while a tab is open."""
    page = _Page(address)
    subset, model = page.find(label="Dataset"), page.find(label="Model")
    page.open(tab)
    times: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        state = "warm" if turn else "cold"
        for _, name in reversed(registry.subset_choices()):  # the first one is open already
            page.values[subset] = name
            times.setdefault(f"dataset, {state}", []).append(page.trigger(subset, "select"))
            for _, model_name in registry.model_choices(name):
                if model_name != page.values[model]:
                    page.values[model] = model_name
                    times.setdefault(f"model, {state}", []).append(page.trigger(model, "select"))
    for kind, values in times.items():
        target = TARGETS[kind.rpartition(" ")[2]]
        yield Measurement(f"ui/{tab}: switch {kind}, median", statistics.median(values), "ms", target)
        yield Measurement(f"ui/{tab}: switch {kind}, slowest", max(values), "ms")


def _cells(address: str, registry: Registry) -> Iterator[Measurement]:
    """Times from a click on a cell of the confusion matrix to its gallery."""
    page = _Page(address)
    subset, matrix = page.find(label="Dataset"), page.find(elem_id="matrix")
    page.open("Test set")
    page.values[subset] = "pathmnist"
    page.trigger(subset, "select")
    checkpoint = registry.checkpoint("pathmnist", page.values[page.find(label="Model")])
    counts = confusion(checkpoint.test_logits, checkpoint.test_labels)
    times = [
        page.trigger(matrix, "click", {"row": row, "column": column})
        for row in range(len(counts))
        for column in range(len(counts))
        if counts[row, column]
    ]
    yield Measurement("ui/cell to gallery on PathMNIST, median", statistics.median(times), "ms", CELL_TARGET)
    yield Measurement("ui/cell to gallery on PathMNIST, slowest", max(times), "ms", CELL_TARGET)
