"""The Data tab: what each subset is and looks like; absent ones can be fetched."""

import html
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import plots
from medvit.data import SPLITS, Dataset, medmnist, summary
from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.ui import parts

SIZE = 28
SAY_EVERY = 0.3  # seconds between two steps of the progress bar


def build(registry: Registry, subset: gr.Dropdown, tab: gr.Tab) -> Any:
    """Lay out the tab; it follows the picker above the tabs whenever it is opened.

    Returns:
        the event that comes after a transfer, to hang others on.
    """
    choices = [(medmnist.get(name).title, name) for name in medmnist.names()]
    shown = gr.State()  # what the picker above said when the tab was last opened
    running = gr.State(time_to_live=3600)  # an Event that stops the transfer
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            chosen = gr.Dropdown(
                choices, value=choices[0][1], label="Subset of MedMNIST", elem_id="data-subset"
            )
            facts = gr.HTML(elem_id="data-facts")
            with gr.Row():
                fetch = gr.Button("Download", variant="primary", visible=False, size="sm")
                stop = gr.Button("Cancel", visible=False, size="sm")
            status = gr.HTML()
        with gr.Column(scale=6, min_width=320):
            gr.HTML("<div class='panel-title'>Class balance</div>")
            balance = gr.Plot(show_label=False, container=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            gr.HTML("<div class='panel-title'>Training images of each class</div>")
            examples = gr.HTML(elem_id="data-examples")
        with gr.Column(scale=4, min_width=280):
            gr.HTML("<div class='panel-title'>Mean image and intensities</div>")
            mean = gr.HTML()
            intensities = gr.Plot(show_label=False, container=False)

    look = [status, fetch, balance, examples, mean, intensities]

    def pictures(name: str) -> list[Any]:
        path = medmnist.archive_path(name, SIZE, registry.data_root)
        try:
            found = _overview(name, str(path), path.stat().st_mtime_ns)
        except (MedvitError, OSError) as error:
            absent = isinstance(error, FileNotFoundError)
            words = "The images are not on this machine." if absent else html.escape(str(error))
            hidden = gr.Plot(visible=False)
            return [_status(words), gr.Button(visible=absent), hidden, "", "", hidden]
        return [
            "",
            gr.Button(visible=False),
            gr.Plot(plots.class_balance(found.counts, found.dataset.classes), visible=True),
            _examples(found),
            _mean(found),
            gr.Plot(plots.intensities(found.histogram), visible=True),
        ]

    def choose(name: str):
        return [_facts(medmnist.get(name)), *pictures(name)]

    def open_tab(above: str, before: str | None, name: str):
        if above == before:
            return [gr.skip()] * (3 + len(look))
        return [above, above, *choose(above)]

    def download(name: str):
        # A generator, so that a visitor who leaves is noticed, and the transfer ends.
        stopped, step = threading.Event(), (0, 0)

        def progress(done: int, total: int) -> None:
            nonlocal step
            step = (done, total)
            if stopped.is_set():
                raise MedvitError(f"Stopped at {_megabytes(done)}; Download goes on from there.")

        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(medmnist.download, name, SIZE, registry.data_root, progress)
            try:
                while not job.done():
                    bar = _progress(medmnist.get(name).title, *step)
                    yield [stopped, gr.Button(visible=True), bar, gr.Button(visible=False)]
                    wait([job], SAY_EVERY)
            finally:
                stopped.set()
        error = job.exception()
        if error and not isinstance(error, MedvitError):
            raise error
        yield [None, gr.Button(visible=False), _status(html.escape(str(error))) if error else "", gr.skip()]

    def redraw(name: str):
        """All but the status: by now another subset may be chosen than the one that was fetched."""
        return pictures(name)[1:]

    private: dict[str, Any] = dict(api_visibility="private", concurrency_id="data")
    tab.select(
        open_tab,
        [subset, shown, chosen],
        [shown, chosen, facts, *look],
        show_progress_on=[examples],
        **private,
    )
    chosen.select(choose, chosen, [facts, *look], show_progress_on=[examples], **private)
    transfer = fetch.click(
        download, chosen, [running, stop, status, fetch], show_progress="hidden", api_visibility="private",
        concurrency_id="download",
    )  # fmt: skip
    stop.click(lambda event: event and event.set(), running, None, queue=False, api_visibility="private")
    return transfer.then(redraw, chosen, look[1:], show_progress="hidden", **private)


@lru_cache(12)
def _overview(name: str, path: str, _changed: int) -> summary.DatasetSummary:
    return summary.summarize(name, SIZE, Path(path).parent)


def _status(words: str, bar: str = "") -> str:
    return f"<div role='status'>{bar}<p>{words}</p></div>"


def _progress(title: str, done: int, total: int) -> str:
    if not total:
        return _status(f"Asking for {title} …", "<progress aria-label='Download'></progress>")
    bar = f"<progress value='{done}' max='{total}' aria-label='Download'></progress>"
    return _status(f"{title}: {_megabytes(done)} of {_megabytes(total)}", bar)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _facts(subset: Dataset) -> str:
    tasks = {
        "multi-class": "one of the classes",
        "binary-class": "one of two classes",
        "ordinal-regression": "an ordered grade",
        "multi-label, binary-class": "any number of the labels",
    }
    form = "grey" if subset.channels == 1 else "colour"
    splits = " · ".join(f"{subset.samples[split]:,} {split}" for split in SPLITS)
    rows = {
        "Asked for": f"{tasks.get(subset.task, subset.task)} ({len(subset.classes)})",
        "Classes": " · ".join(subset.classes),
        "Images": f"{form}, {SIZE} × {SIZE} pixels; {splits}",
        "Licence": subset.licence,
        "File": f"{medmnist.archive_path(subset.name, SIZE).name}, md5 {subset.md5[SIZE]}",
    }
    cells = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in rows.items())
    address = html.escape(subset.url[SIZE], quote=True)
    links = (
        "<a href='https://medmnist.com' target='_blank' rel='noopener noreferrer'>MedMNIST</a> (Yang et al., "
        f"2023), <a href='{address}' target='_blank' rel='noopener noreferrer'>Zenodo</a>"
    )
    return (
        f"<p>{html.escape(subset.description)}</p><dl class='facts'>{cells}<dt>From</dt><dd>{links}</dd></dl>"
    )


def _examples(found: summary.DatasetSummary) -> str:
    rows = ""
    for name, images in zip(found.dataset.classes, found.examples, strict=True):
        label = parts.class_name_html(name)
        alt = html.escape(f"{len(images)} training images of {name}", quote=True)
        pictures = (
            f"<img src='{plots.data_url(summary.side_by_side(images))}' alt='{alt}'>" if len(images) else "none"
        )
        rows += f"<div><p>{label}</p>{pictures}</div>"
    return f"<div class='examples-of-classes'>{rows}</div>"


def _mean(found: summary.DatasetSummary) -> str:
    total = found.total
    part = "all" if found.sampled == total else f"{found.sampled:,}, evenly spaced, of"
    return (
        f"<div class='seen'><img src='{plots.data_url(found.mean)}' alt='Mean of the training images'>"
        f"<p>The mean of {part} {total:,} training images, and their intensities below.</p></div>"
    )
