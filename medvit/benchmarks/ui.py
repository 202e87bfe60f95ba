"""Waiting times of the screens: from a click to the whole answer, over HTTP, as a browser asks.

Needs the five official archives on disk ($MEDVIT_DATA). What the browser then takes to draw is not counted.
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

import gradio as gr
import httpx
from transformers.utils import logging

from benchmarks.common import Figure
from medvit import ui
from medvit.errors import MedvitError
from medvit.evaluation.metrics import confusion
from medvit.inference.registry import Registry

COLD, WARM, CELL = 500, 150, 150  # ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--checkpoints", metavar="DIR", help="folder of checkpoints [the shipped ones]")
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add("--rounds", type=int, default=5, help="turns through all subsets and models once warm [5]")


class Visitor:
    """A visitor's session: raises the events of a page and waits for their answers."""

    def __init__(self, demo: gr.Blocks):
        self.demo = demo
        self.session = uuid.uuid4().hex[:11]
        self.values: dict[int, Any] = {}  # what the page holds, by component
        self.http = httpx.Client(base_url=f"{demo.local_url}gradio_api", timeout=120)

    def find(self, **wanted: str) -> int:
        """Id of the component with this label or elem_id."""
        return next(
            key
            for key, block in self.demo.blocks.items()
            if all(getattr(block, name, None) == value for name, value in wanted.items())
        )

    def open_page(self, tab: str) -> None:
        """Load the page and turn to a tab."""
        self.raise_event(None, "load")
        self.raise_event(self.find_parent(label=tab), "select", {"index": 0, "value": tab})

    def find_parent(self, **wanted: str) -> int:
        """Id of the component around the one with this label: of the tabs around a tab."""
        return self.demo.blocks[self.find(**wanted)].parent._id

    def raise_event(self, component: int | None, event: str, data: Any = None) -> float:
        """Milliseconds until the answer to an event has arrived, and the slowest of those to the events that
        it sets off by changing states, which a page raises at once. `component` None is the page itself."""
        function = next(
            f
            for f in self.demo.fns.values()
            if any((target == component or component is None) and name == event for target, name in f.targets)
        )
        first, changed = self._ask(function, component, data)
        following = [
            f for f in self.demo.fns.values() if any((state, "change") in f.targets for state in changed)
        ]
        return first + max((self._ask(f, component, data)[0] for f in following), default=0.0)

    def _ask(self, function: Any, component: int | None, data: Any) -> tuple[float, list[int]]:
        """Milliseconds, and the states changed."""
        body = {
            "data": [self.values.get(block._id, getattr(block, "value", None)) for block in function.inputs],
            "event_data": data,
            "fn_index": function._id,
            "trigger_id": component,
            "session_hash": self.session,
        }
        started = time.perf_counter()
        if function.queue is False:
            answer = self.http.post("/run/predict", json=body).raise_for_status().json()
        else:
            answer = self._through_queue(body)
        milliseconds = 1000 * (time.perf_counter() - started)
        for block, value in zip(function.outputs, answer["data"], strict=True):
            self._keep(block._id, value)
        return milliseconds, answer.get("changed_state_ids") or []

    def _through_queue(self, body: dict[str, Any]) -> dict[str, Any]:
        self.http.post("/queue/join", json=body).raise_for_status()
        with self.http.stream("GET", "/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(message["output"])
                    return message["output"]
        raise RuntimeError("the answer never came")

    def _keep(self, component: int, value: Any) -> None:
        """Take over a value, as a page does; an update may leave the value as it is."""
        if isinstance(value, dict) and value.get("__type__") == "update":
            if "value" not in value:
                return
            value = value["value"]
        self.values[component] = value


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    logging.disable_progress_bar()
    registry = Registry.open(args.checkpoints, args.data_root)
    for _, subset in registry.subset_choices():
        if not registry.has_data(subset):
            raise MedvitError(f"This benchmark needs the data of {subset}: scripts/download.py {subset}.")
    demo = ui.build(registry)
    with tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        demo.launch(prevent_thread_lock=True, quiet=True, **ui.launch_options(Path(uploads)))
        try:
            yield from _switching(demo, registry, args.rounds)
            yield from _cells(demo, registry)
        finally:
            demo.close()


def _switching(demo: gr.Blocks, registry: Registry, rounds: int) -> Iterator[Figure]:
    for tab in ("Explore", "Test set"):
        yield from _switching_in(tab, demo, registry, rounds)


def _switching_in(tab: str, demo: gr.Blocks, registry: Registry, rounds: int) -> Iterator[Figure]:
    visitor = Visitor(demo)
    subset, model = visitor.find(label="Subset"), visitor.find(label="Model")
    visitor.open_page(tab)
    taken: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        state = "warm" if turn else "cold"
        for name in reversed(
            [name for _, name in registry.subset_choices()]
        ):  # the last one open is the first
            visitor.values[subset] = name
            taken.setdefault(f"subset, {state}", []).append(visitor.raise_event(subset, "select"))
            for _, other in registry.model_choices(name):
                if other == visitor.values[model]:
                    continue
                visitor.values[model] = other
                taken.setdefault(f"model, {state}", []).append(visitor.raise_event(model, "select"))
    for what, times in taken.items():
        target = COLD if what.endswith("cold") else WARM
        yield Figure(f"ui/{tab}: switch {what}, median", statistics.median(times), "ms", target)
        yield Figure(f"ui/{tab}: switch {what}, slowest", max(times), "ms")


def _cells(demo: gr.Blocks, registry: Registry) -> Iterator[Figure]:
    visitor = Visitor(demo)
    subset, matrix = visitor.find(label="Subset"), visitor.find(elem_id="matrix")
    visitor.open_page("Test set")
    visitor.values[subset] = "pathmnist"
    visitor.raise_event(subset, "select")
    found = registry.checkpoint("pathmnist", visitor.values[visitor.find(label="Model")])
    counts = confusion(found.test_logits, found.test_labels)
    times = [
        visitor.raise_event(matrix, "click", {"row": row, "column": column})
        for row in range(len(counts))
        for column in range(len(counts))
        if counts[row, column]
    ]
    yield Figure("ui/cell to gallery on PathMNIST, median", statistics.median(times), "ms", CELL)
    yield Figure("ui/cell to gallery on PathMNIST, slowest", max(times), "ms", CELL)
