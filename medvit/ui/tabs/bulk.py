"""The Bulk tab: classify many pictures or a zip into a table, a CSV and a plot."""

import io
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import limits, plots
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.inference import bulk, bulk_csv
from medvit.inference.budget import Budget, duration
from medvit.inference.registry import Registry
from medvit.limits import BULK_BYTES, BULK_FILES, BULK_LOOSE_FILES, IMAGE_BYTES, RETENTION_SECONDS
from medvit.ui.components import download_button
from medvit.ui.components.upload import files_input
from medvit.ui.html import DISCLAIMER, note, panel_title, status
from medvit.ui.state import AT_ONCE, NO_SPINNER, Values, connect, require_state, show_user_errors

LIMITS = (
    f"Up to {BULK_LOOSE_FILES:,} pictures of {IMAGE_BYTES >> 20} MB each, or zips with up to "
    f"{BULK_FILES:,} in all; {BULK_BYTES >> 20} MB together. Zips are not extracted. A job may take "
    f"{duration(limits.BULK_SECONDS)}, and {duration(limits.BULK_CPU_SECONDS)} of CPU time."
)
HEADERS = ["file", "label", "probability", "prediction set", "in distribution", "note"]
PLOT_TITLE = "Predicted classes by probability"
PROGRESS_SECONDS = 0.3  # between two updates of the progress bar
# Gradio's search field has a title only, which screen readers do not take for its name.
NAME_SEARCH = """
const panel = element.closest('[role="tabpanel"]') || document.body;
const name = () => panel.querySelectorAll(".search-input").forEach(
  (input) => input.setAttribute("aria-label", "Search the table"));
new MutationObserver(name).observe(panel, { childList: true, subtree: true });
name();
"""


@dataclass(frozen=True, eq=False)
class BulkTab:
    """The components of the tab. `rows` holds the results, `running` the event that stops the run."""

    registry: Registry
    selection: gr.State
    rows: gr.State
    running: gr.State
    files: gr.File
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    plot_title: gr.HTML
    plot: gr.Plot
    table: gr.Dataframe

    @property
    def outputs(self) -> set[Any]:
        """What `run` changes."""
        drawn = {self.plot_title, self.plot, self.table}
        return {self.rows, self.running, self.start, self.stop, self.status} | drawn

    @show_user_errors
    def run(self, values: Values) -> Iterator[Values]:
        """Classify the files; a generator, so that the run ends when the visitor leaves."""
        predictor = self.registry.predictor(*require_state(values[self.selection]).checkpoint)
        files = bulk.list_files(uploaded_files(values[self.files] or ()))
        title = f"{predictor.checkpoint.dataset.title} · {predictor.checkpoint.title}"
        stopped = threading.Event()
        budget = Budget(limits.BULK_SECONDS, limits.BULK_CPU_SECONDS)
        last_update = time.monotonic()
        yield {
            self.running: stopped,
            self.status: _progress(title, 0, len(files)),
            self.start: gr.Button(interactive=False),
            self.stop: gr.Button(interactive=True),
        }
        rows: list[bulk.Row] = []
        with (
            bulk.Reader() as reader,
            closing(bulk.predict(predictor, files, reader, budget=budget)) as batches,
        ):
            for batch in batches:
                rows += batch
                if time.monotonic() - last_update > PROGRESS_SECONDS:
                    last_update = time.monotonic()
                    yield {self.status: _progress(title, len(rows), len(files))}
                if stopped.is_set() or budget.exceeded():
                    break
        outcome = outcome_text(title, rows, len(files), budget)
        answers = [(row.label, row.probability) for row in rows if row.probability is not None]
        yield {
            self.rows: rows,
            self.running: None,
            self.status: status(outcome),
            self.plot_title: panel_title(PLOT_TITLE),
            self.plot: plots.label_counts(answers),
            self.table: [table_row(row) for row in rows],
        } | self.ready()

    def ready(self) -> Values:
        """The buttons before a run and after it."""
        return {self.start: gr.Button(interactive=True), self.stop: gr.Button(interactive=False)}

    def to_csv(self, values: Values) -> tuple[str, str]:
        """Return the file name and the text of the results as CSV."""
        if not values[self.rows]:
            raise MedvitError("There are no results to save yet. Classify some pictures first.")
        text = io.StringIO()
        bulk_csv.write_header(text)
        bulk_csv.write_rows(text, values[self.rows])
        return "results.csv", text.getvalue()


def build(registry: Registry, selection: gr.State) -> BulkTab:
    """Lay out the tab and connect its events.

    Args:
        selection: the state that holds the `Selection` of the pickers.
    """
    tab = _layout(registry, selection)
    with gr.Row():
        download_button.button("Save as CSV", tab.to_csv, {tab.rows}, size="sm", scale=0, min_width=140)
        hint = note(f"{DISCLAIMER} Click a column's heading to sort by it.")
        gr.HTML(hint, js_on_load=NAME_SEARCH)
    tab.files.change(lambda paths: gr.Button(interactive=bool(paths)), tab.files, tab.start, **AT_ONCE)
    inputs = {selection, tab.files}
    run = connect(
        tab.start.click,
        tab.run,
        inputs,
        tab.outputs,
        concurrency_id="bulk",
        concurrency_limit=limits.BULK_JOBS,
        **NO_SPINNER,
    )
    connect(run.failure, tab.ready, None, {tab.start, tab.stop}, **NO_SPINNER)
    tab.stop.click(lambda event: event and event.set(), tab.running, None, **AT_ONCE)
    return tab


def _layout(registry: Registry, selection: gr.State) -> BulkTab:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            gr.HTML(panel_title("Pictures"))
            files = files_input(show_label=False, height=170, elem_id="bulk-files")
            gr.HTML(note(LIMITS))
            with gr.Row():
                start = gr.Button("Classify all", variant="primary", interactive=False)
                stop = gr.Button("Stop", interactive=False)
            hint = status("Select a dataset and a model above, and drop pictures here.")
            status_line = gr.HTML(hint, min_height=72)
        with gr.Column(scale=7, min_width=320):
            title = gr.HTML(panel_title(f"{PLOT_TITLE} (example)"))
            example = example_rows(registry)
            answers = [(label, probability) for _, label, probability, *_ in example]
            plot = gr.Plot(plots.label_counts(answers), show_label=False, container=False)
    table = gr.Dataframe(
        value=example,
        headers=HEADERS,
        datatype=["str", "str", "number", "str", "str", "str"],
        column_count=len(HEADERS),
        type="array",
        interactive=False,
        wrap=True,
        show_label=False,
        show_search="search",
        buttons=["fullscreen"],
        column_widths=["230px", "190px", "120px", "190px", "120px", "320px"],
        elem_id="bulk-table",
    )
    rows, running = gr.State([], time_to_live=3600), gr.State(time_to_live=3600)
    return BulkTab(registry, selection, rows, running, files, start, stop, status_line, title, plot, table)


def example_rows(registry: Registry) -> list[list[Any]]:
    """Rows of the table before the first run, with classes of the first dataset."""
    classes = registry.dataset(registry.subset_choices()[0][1]).classes
    first, second, last = (short_name(classes[i % len(classes)]) for i in (0, 1, -1))
    return [
        ["image_001.png", first, 0.9712, first, "yes", "example row: a confident answer"],
        ["image_002.png", second, 0.5841, f"{second}; {first}", "yes", "example row: an uncertain answer"],
        ["holiday.jpg", last, 0.5215, f"{last}; {first}", "no", "example row: out of distribution"],
    ]


def uploaded_files(paths: Iterable[str]) -> list[Path]:
    """Return the uploads as paths.

    Raises:
        MedvitError: one of them is not a file: a visitor could name the folder of all uploads.
    """
    files = [Path(path) for path in paths]
    if not all(path.is_file() for path in files):
        raise MedvitError(
            f"Not all files are here any more: uploads are kept for {RETENTION_SECONDS // 60} minutes. "
            "Drop the pictures here again."
        )
    return files


def outcome_text(title: str, rows: list[bulk.Row], total: int, budget: Budget) -> str:
    """How many files were classified in how much time, how many could not be read, and what ended the job."""
    unreadable = sum(bool(row.note) for row in rows)
    count = "1 file" if total == 1 else f"{total:,} files"
    problem = f"; {unreadable:,} could not be read, see their notes" if unreadable else ""
    if len(rows) < total:
        count = f"stopped after {len(rows):,} of {count}"
        if used := budget.exceeded():
            problem += f". A job may take {used} here: split it, or use `medvit predict`, which has no limit"
    return f"{title}: {count} in {budget.elapsed:.1f} s{problem}."


def table_row(row: bulk.Row) -> list[Any]:
    """One row of the table."""
    probability = None if row.probability is None else round(row.probability, 4)
    return [row.file, short_name(row.label), probability, row.set, row.in_distribution, row.note]


def _progress(title: str, done: int, total: int) -> str:
    return status(f"{title}: {done:,} of {total:,} files", done, total, "Files classified")
