"""The Data tab: facts and images of a dataset, and the download of one that is not on disk."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import plots
from medvit.data import SPLITS, Dataset, cache, medmnist, summary
from medvit.data.summary import DatasetSummary
from medvit.errors import MedvitError
from medvit.inference import external
from medvit.inference.registry import Registry
from medvit.ui.components.base import lenient
from medvit.ui.html import panel_title, render, status
from medvit.ui.state import AT_ONCE, NO_SPINNER, Values, connect, require_state

SIZE = 28
PROGRESS_SECONDS = 0.3  # between two updates of the progress bar
TASKS = {
    "multi-class": "one of the classes",
    "binary-class": "one of two classes",
    "ordinal-regression": "an ordered grade",
    "multi-label, binary-class": "any number of the labels",
}


@dataclass(frozen=True, eq=False)
class DataTab:
    """The components of the tab.

    `displayed` offers the dataset of the pickers and those without a model. `followed` holds the dataset of
    the pickers when the tab was last updated, `running` the event that stops a download, `fetched` the name
    of the dataset that was last downloaded. `panels` hold what is drawn from the images, and are hidden
    where there are none.
    """

    registry: Registry
    selection: gr.State
    followed: gr.State
    running: gr.State
    fetched: gr.State
    displayed: gr.Radio
    facts: gr.HTML
    download: gr.Button
    stop: gr.Button
    status: gr.HTML
    panels: tuple[gr.Column, gr.Row]
    balance: gr.Plot
    examples: gr.HTML
    mean: gr.HTML
    intensities: gr.Plot

    @property
    def inputs(self) -> set[Any]:
        """What `update` reads."""
        return {self.selection, self.followed}

    @property
    def outputs(self) -> set[Any]:
        """What `update` changes."""
        return {self.followed, self.displayed, self.facts, self.status} | self.images

    @property
    def images(self) -> set[Any]:
        """The components that show the images of the dataset, or offer their download."""
        return {self.download, *self.panels, self.balance, self.examples, self.mean, self.intensities}

    def update(self, values: Values) -> Values:
        """Display the dataset of the pickers, unless it has not changed since."""
        name = require_state(values[self.selection]).subset
        if values[self.followed] == name:
            return gr.skip()
        if name == external.GROUP:
            return {self.followed: name} | self._show_none()
        radio = gr.Radio(dataset_choices(self.registry, name), value=name)
        return {self.followed: name, self.displayed: radio} | self.show(name)

    def choose(self, values: Values) -> Values:
        """Display the dataset that was chosen in the tab."""
        return self.show(values[self.displayed])

    def show(self, name: str) -> Values:
        """Display a dataset."""
        return {self.facts: facts_html(self.registry.dataset(name))} | self._show_images(name)

    def _show_images(self, name: str) -> Values:
        dataset = self.registry.dataset(name)
        root = self.registry.data_root
        path = cache.folder_of(dataset) if dataset.own else medmnist.archive_path(name, SIZE, root)
        try:
            data = _summarize(dataset, str(path), path.stat().st_mtime_ns)
        except (MedvitError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            text = "The images are not on this machine." if missing else str(error)
            return {
                self.status: status(text),
                self.download: gr.Button(visible=missing and not dataset.own),
            } | self._visible(False)
        return {
            self.status: "",
            self.download: gr.Button(visible=False),
            self.balance: plots.class_balance(data.counts, data.dataset.classes),
            self.examples: examples_html(data),
            self.mean: render("mean_image.html", mean=data.mean, sampled=data.sampled, total=data.total),
            self.intensities: plots.intensity_histogram(data.histogram),
        } | self._visible(True)

    def _visible(self, visible: bool) -> Values:
        column, row = self.panels
        return {column: gr.Column(visible=visible), row: gr.Row(visible=visible)}

    def _show_none(self) -> Values:
        """That a model of another program comes without pictures; the other datasets can be chosen."""
        return {
            self.facts: "",
            self.displayed: gr.Radio(dataset_choices(self.registry), value=None),
            self.status: status("There are no labelled pictures for this model."),
            self.download: gr.Button(visible=False),
        } | self._visible(False)

    def fetch(self, values: Values) -> Iterator[Values]:
        """Download the displayed dataset; a generator, so that the transfer ends when the visitor leaves."""
        name = values[self.displayed]
        title = medmnist.get(name).title
        stopped, transferred = threading.Event(), (0, 0)

        def progress(done: int, total: int) -> None:
            nonlocal transferred
            transferred = done, total
            if stopped.is_set():
                raise MedvitError(f"Stopped at {_megabytes(done)}; Download resumes from there.")

        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(medmnist.download, name, SIZE, self.registry.data_root, progress)
            try:
                while not job.done():
                    yield {
                        self.running: stopped,
                        self.fetched: name,
                        self.stop: gr.Button(visible=True),
                        self.status: _progress(title, *transferred),
                        self.download: gr.Button(visible=False),
                    }
                    wait([job], PROGRESS_SECONDS)
            finally:
                stopped.set()
        error = job.exception()
        if error and not isinstance(error, MedvitError):
            raise error
        message = status(str(error)) if error else ""
        yield {self.running: None, self.stop: gr.Button(visible=False), self.status: message}

    def redraw(self, values: Values) -> Values:
        """Draw the images after a download. Its status stays, unless that of another dataset is needed."""
        images = self._show_images(values[self.displayed])
        if images[self.status] and values[self.displayed] != values[self.fetched]:
            return images
        return {component: value for component, value in images.items() if component is not self.status}


def build(registry: Registry, selection: gr.State) -> tuple[DataTab, Callable]:
    """Lay out the tab.

    Args:
        selection: the state that holds the `Selection` of the pickers.

    Returns:
        the tab, and a function that adds an event after a download.
    """
    tab = _layout(registry, selection)
    displayed, data_queue = {tab.displayed}, NO_SPINNER | {"concurrency_id": "data"}
    connect(tab.displayed.select, tab.choose, displayed, tab.outputs, **data_queue)
    changed = {tab.running, tab.fetched, tab.stop, tab.status, tab.download}
    finished = connect(
        tab.download.click, tab.fetch, displayed, changed, concurrency_id="download", **NO_SPINNER
    )
    tab.stop.click(lambda event: event and event.set(), tab.running, None, **AT_ONCE)
    redrawn = connect(
        finished.then, tab.redraw, {tab.displayed, tab.fetched}, tab.images | {tab.status}, **data_queue
    )
    return tab, redrawn.then


def _layout(registry: Registry, selection: gr.State) -> DataTab:
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            facts = gr.HTML(elem_id="data-facts")
            with gr.Row():
                download = gr.Button("Download", variant="primary", visible=False, size="sm")
                stop = gr.Button("Cancel", visible=False, size="sm")
            status_line = gr.HTML()
            with gr.Accordion("Datasets without a model", open=False):
                displayed = lenient(gr.Radio)(
                    label="This dataset, or one without a model", elem_id="displayed-dataset"
                )
        with gr.Column(scale=6, min_width=320, visible=False) as balance_column:
            gr.HTML(panel_title("Class balance"))
            balance = gr.Plot(show_label=False, container=False)
    with gr.Row(equal_height=False, visible=False) as images_row:
        with gr.Column(scale=7, min_width=320):
            gr.HTML(panel_title("Training images of each class"))
            examples = gr.HTML(elem_id="data-examples")
        with gr.Column(scale=4, min_width=280):
            gr.HTML(panel_title("Mean image and intensities"))
            mean = gr.HTML()
            intensities = gr.Plot(show_label=False, container=False)
    return DataTab(
        registry, selection, gr.State(), gr.State(time_to_live=3600), gr.State(), displayed, facts, download,
        stop, status_line, (balance_column, images_row), balance, examples, mean, intensities,
    )  # fmt: skip


def dataset_choices(registry: Registry, selected: str | None = None) -> list[tuple[str, str]]:
    """(title, name) of the dataset of the pickers and of those that the pickers do not offer."""
    with_model = {name for _, name in registry.subset_choices()}
    others = [*registry.datasets, *medmnist.names()]
    names = [*filter(None, [selected]), *(name for name in others if name not in with_model)]
    return [(registry.dataset(name).title, name) for name in names]


@lru_cache(12)
def _summarize(dataset: Dataset, path: str, _modified: int) -> DatasetSummary:
    return summary.summarize(dataset, root=Path(path).parent)


def facts_html(dataset: Dataset) -> str:
    """Task, classes, images, licence and source of a dataset."""
    form, side = "grey" if dataset.channels == 1 else "colour", dataset.source_size or SIZE
    splits = " · ".join(f"{count:,} {split}" for split in SPLITS if (count := dataset.samples.get(split, 0)))
    facts = {
        "Task": f"{TASKS.get(dataset.task, dataset.task)} ({len(dataset.classes)})",
        "Classes": " · ".join(dataset.classes),
        "Images": f"{form}, {side} × {side} pixels; {splits}",
    }
    if dataset.own:
        facts["SHA-256 of pixels and labels"] = dataset.digest
    elif dataset.md5:
        facts["Licence"] = dataset.licence
        facts["File"] = f"{medmnist.archive_path(dataset.name, SIZE).name}, md5 {dataset.md5[SIZE]}"
    return render("dataset_facts.html", dataset=dataset, facts=facts, url=dataset.url.get(SIZE))


def examples_html(data: DatasetSummary) -> str:
    """A strip of training images of each class."""
    examples = [
        (name, len(images), summary.side_by_side(images) if len(images) else None)
        for name, images in zip(data.dataset.classes, data.examples, strict=True)
    ]
    return render("class_examples.html", examples=examples)


def _progress(title: str, done: int, total: int) -> str:
    text = f"{title}: {_megabytes(done)} of {_megabytes(total)}" if total else f"Connecting for {title} …"
    return status(text, done, total, "Download")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
