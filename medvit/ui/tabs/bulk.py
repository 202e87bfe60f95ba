"""The Batch tab: many pictures or a zip in; a table, a CSV and a summary out."""

import io
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import plots
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.inference import bulk
from medvit.inference.registry import Registry
from medvit.limits import BULK_BYTES, BULK_FILES, BULK_LOOSE_FILES, IMAGE_BYTES, RETENTION_SECONDS
from medvit.ui import parts
from medvit.ui.components import download_button
from medvit.ui.components.base import variant

LIMITS = (
    f"Up to {BULK_LOOSE_FILES:,} pictures of {IMAGE_BYTES >> 20} MB each, or zips with up to "
    f"{BULK_FILES:,} in all; {BULK_BYTES >> 20} MB together. Zips are not extracted."
)
HEADERS = ["file", "label", "probability", "set", "in distribution", "note"]
SAY_EVERY = 0.3  # seconds between two steps of the progress bar


def build(registry: Registry, subset: gr.Dropdown, model: gr.Dropdown) -> None:
    """Lay out the tab, and connect what happens inside it."""
    rows = gr.State([], time_to_live=3600)
    running = gr.State(time_to_live=3600)  # an Event that stops the batch
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>Pictures</div>")
            files = _files_input(show_label=False, height=170, elem_id="batch-files")
            gr.HTML(f"<p class='quiet small'>{LIMITS}</p>")
            with gr.Row():
                start = gr.Button("Classify all", variant="primary", interactive=False)
                stop = gr.Button("Stop", interactive=False)
            status = gr.HTML(
                _status("Pick a subset and a model above, and drop pictures here."), min_height=72
            )
        with gr.Column(scale=7, min_width=320):
            gr.HTML("<div class='panel-title'>What the model says, and how surely</div>")
            summary = gr.Plot(show_label=False, container=False)
    table = gr.Dataframe(
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
        elem_id="batch-table",
    )
    with gr.Row():
        download_button.button(
            "Save as CSV", lambda rows: ("results.csv", _csv(rows)), [rows], size="sm", scale=0, min_width=140
        )
        gr.HTML(f"<p class='quiet small'>{parts.DISCLAIMER} Click a column's head to sort by it.</p>")

    outputs = [rows, running, status, start, stop, summary, table]

    def run(subset, model, paths):
        # A generator, so that a visitor who leaves is noticed at the next step.
        try:
            predictor = registry.predictor(subset, model)
            found = bulk.list_files(_uploaded(paths or ()))
            title = f"{predictor.checkpoint.subset.title} · {predictor.checkpoint.title}"
            stopped, done, began, said = threading.Event(), [], time.monotonic(), 0.0
            busy = [gr.skip(), stopped, _progress(title, 0, len(found)), _button(False), _button(True)]
            yield [*busy, gr.skip(), gr.skip()]
            with bulk.Reader() as reader:
                steps = bulk.predict(predictor, found, reader)
                for step in steps:
                    done += step
                    if stopped.is_set():
                        steps.close()
                        break
                    if time.monotonic() - said > SAY_EVERY:
                        said = time.monotonic()
                        now = _progress(title, len(done), len(found))
                        yield [gr.skip(), gr.skip(), now, *[gr.skip()] * 4]
        except MedvitError as error:
            raise gr.Error(str(error), title="That did not work", print_exception=False) from error
        words = _outcome(title, done, len(found), time.monotonic() - began)
        figure = plots.batch_summary([(row.label, row.probability) for row in done if not row.note])
        yield [done, None, _status(words), _button(True), _button(False), figure, _table(done)]

    private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
    files.change(lambda paths: _button(bool(paths)), files, start, queue=False, **private)
    job = start.click(run, [subset, model, files], outputs, concurrency_id="batch", **private)
    job.failure(lambda: (_button(True), _button(False)), None, [start, stop], **private)
    stop.click(lambda event: event and event.set(), running, None, queue=False, **private)


def _files_input(**options: Any) -> gr.File:
    """A gr.File of many files that hands their paths over; Gradio would put an empty file beside each."""

    def paths(_, payload) -> list[str]:
        return [one.path for one in payload.root] if payload else []

    return variant(gr.File, preprocess=paths)(file_count="multiple", **options)


def _uploaded(paths: Iterable[str]) -> list[Path]:
    """The files; a visitor could name the folder of all uploads, and `find` would list everyone's."""
    files = [Path(path) for path in paths]
    if not all(path.is_file() for path in files):
        raise MedvitError(
            f"Not every file is here any more: uploads are kept for {RETENTION_SECONDS // 60} minutes. "
            "Drop the pictures here again."
        )
    return files


def _button(interactive: bool) -> gr.Button:
    return gr.Button(interactive=interactive)


def _status(words: str, bar: str = "") -> str:
    return f"<div role='status'>{bar}<p>{words}</p></div>"


def _progress(title: str, done: int, total: int) -> str:
    bar = f"<progress value='{done}' max='{total}' aria-label='Files classified'></progress>"
    return _status(f"{title}: {done:,} of {total:,} files", bar)


def _outcome(title: str, done: list[bulk.Row], total: int, seconds: float) -> str:
    unread = sum(bool(row.note) for row in done)
    files = "1 file" if total == 1 else f"{total:,} files"
    what = files if len(done) == total else f"stopped after {len(done):,} of {files}"
    bad = f"; {unread:,} could not be read, see their notes" if unread else ""
    return f"{title}: {what} in {seconds:.1f} s{bad}."


def _table(done: list[bulk.Row]) -> list[list]:
    return [
        [
            row.file,
            short_name(row.label),
            None if row.probability is None else round(row.probability, 4),
            row.set,
            row.in_distribution,
            row.note,
        ]
        for row in done
    ]


def _csv(done: list[bulk.Row]) -> str:
    if not done:
        raise MedvitError("There are no results to save yet. Classify some pictures first.")
    text = io.StringIO()
    bulk.write_header(text)
    bulk.write_rows(text, done)
    return text.getvalue()
