"""The Reader study tab: set-up, one case after the other, and the result.

The state of a study is in the browser's own storage (`kept`) and comes with every request; the server keeps
nothing of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.reader_study import Judgement, Session
from medvit.reader_study.heatmaps import HeatmapCache
from medvit.ui import html
from medvit.ui.components.reader_case import FOLLOW_OTHER_TABS, reader_case
from medvit.ui.panels import reader_result, reader_setup
from medvit.ui.panels.reader_case import Cases
from medvit.ui.panels.reader_result import ResultPanel
from medvit.ui.panels.reader_setup import SetupPanel
from medvit.ui.pickers import Pickers
from medvit.ui.state import (
    AT_ONCE,
    NO_SPINNER,
    PRIVATE,
    Values,
    connect,
    require_state,
    show_user_errors,
)

STORAGE_KEY = "medvit-reader-study"
STORAGE_SECRET = "medvit"  # noqa: S105 - not a secret: it only has to be the same after a restart
DISCARDED: dict[str, Any] = {}  # in the browser's storage, into which Gradio writes neither None nor ""


@dataclass(frozen=True, eq=False)
class ReaderStudyTab:
    """The components. `kept` holds the session as `Session.to_dict` returns it, or `DISCARDED`, or None.

    `screens`: the columns of set-up, case and result, of which one is visible.
    """

    pickers: Pickers
    cases: Cases
    kept: gr.BrowserState
    screens: dict[str, gr.Column]
    setup: SetupPanel
    case: gr.HTML
    result: ResultPanel

    @property
    def inputs(self) -> set[Any]:
        """What `update` reads."""
        return {self.pickers.selection, self.kept}

    @property
    def outputs(self) -> set[Any]:
        """What `update` sets."""
        return self.session_outputs | self.setup.outputs

    @property
    def session_outputs(self) -> set[Any]:
        """What a step of the study sets."""
        return {self.case, *self.screens.values()} | self.result.outputs

    @show_user_errors
    def update(self, values: Values) -> Values:
        """Display the study that the browser keeps, else the set-up."""
        selection = require_state(values[self.pickers.selection])
        if not values[self.kept]:
            return self._display("setup") | self.setup.update(selection, kept=False)
        try:
            return self._draw(Session.from_dict(values[self.kept]))
        except MedvitError as error:
            return self._display("setup") | self.setup.update(selection, kept=False, problem=str(error))

    def unfinished(self, values: Values) -> Session | None:
        """The study that the browser keeps and that goes on; None where there is none."""
        try:
            session = Session.from_dict(values[self.kept])
        except MedvitError:
            return None
        return session if session.phase != "done" else None

    def link(self, values: Values) -> dict[str, str] | None:
        """The parts of a link to the unfinished study that the browser keeps; None where there is none."""
        session = self.unfinished(values)
        if session is None or not self.cases.registry.has(session.study.dataset, session.study.model):
            return None
        study = session.study
        return {"dataset": study.dataset, "model": study.model, "tab": "reader-study"}

    def _display(self, screen: str) -> Values:
        return {column: gr.Column(visible=name == screen) for name, column in self.screens.items()}

    def _draw(self, session: Session) -> Values:
        if session.phase == "done":
            return self._display("result") | {self.case: ""} | self.result.update(session)
        return self._display("case") | {self.case: self.cases.render(session)}

    def _step(self, session: Session) -> Values:
        return {self.kept: session.to_dict()} | self._draw(session)

    @show_user_errors
    def start(self, values: Values) -> Iterator[Values]:
        """Begin a study; a generator, as the model may have to be loaded first."""
        selection = require_state(values[self.pickers.selection])
        yield {
            self.setup.start: gr.Button(interactive=False),
            self.setup.status: html.status("Preparing the cases and the model's advice …", 0, 0, "Preparing"),
        }
        session = self.setup.make(values, selection)
        study = session.study
        is_other = (study.dataset, study.model) != selection.checkpoint  # as an uploaded study may be
        select = self.pickers.open(values, study.dataset, study.model) if is_other else {}
        yield self._step(session) | self.ready() | self.setup.clear_upload() | select

    def ready(self) -> Values:
        """The set-up before a start and after a failed one."""
        return {self.setup.start: gr.Button(interactive=True), self.setup.status: ""}

    @show_user_errors
    def commit(self, values: Values, event: gr.EventData) -> Values:
        """Take a first or final answer; one that came twice is taken once."""
        session = Session.from_dict(values[self.kept])
        if not _is_on_display(session, event):
            return gr.skip()
        classes = self.cases.advice(session).classes
        try:
            judgement = Judgement.parse(event.answer, event.confidence, event.seconds)
        except (AttributeError, ValueError, TypeError, OverflowError) as error:
            raise MedvitError("This answer cannot be read. Reload the page and answer again.") from error
        if judgement.answer >= len(classes):
            raise MedvitError("There is no such class. Reload the page and answer again.")
        return self._step(session.commit(judgement))

    @show_user_errors
    def proceed(self, values: Values, event: gr.EventData) -> Values:
        """Go on after the truth of a case."""
        session = Session.from_dict(values[self.kept])
        if not _is_on_display(session, event):
            return gr.skip()
        return self._step(session.close_truth())

    @show_user_errors
    def discard(self, values: Values) -> Values:
        """Drop the study and go back to the set-up."""
        selection = require_state(values[self.pickers.selection])
        setup = self.setup.update(selection, kept=False)
        return {self.kept: DISCARDED, self.case: ""} | self._display("setup") | setup

    @show_user_errors
    def set_up_another(self, values: Values) -> Values:
        """Go to the set-up; the finished study is kept until the next one starts."""
        selection = require_state(values[self.pickers.selection])
        return self._display("setup") | self.setup.update(selection, kept=True)

    @show_user_errors
    def prepare(self, values: Values) -> None:
        """Compute the heatmaps that come next, while the reader looks at the image."""
        if session := self.unfinished(values):
            self.cases.advice(session)
            self.cases.prepare(session)

    @show_user_errors
    def open_misled(self, values: Values, event: gr.EventData) -> Values:
        """Select a clicked image of the result, with the dataset and the model of the study."""
        study = Session.from_dict(values[self.kept]).study
        sample = self.cases.registry.test_sample(study.dataset, int(event.index))
        return self.pickers.open(values, study.dataset, study.model, sample)


def kept_in_browser() -> gr.BrowserState:
    """The browser's own storage for a study; outside the tabs, as those are laid out when they are opened."""
    return gr.BrowserState(None, storage_key=STORAGE_KEY, secret=STORAGE_SECRET)


def build(registry: Registry, pickers: Pickers, kept: gr.BrowserState) -> ReaderStudyTab:
    """Lay out the tab and connect its events.

    Args:
        kept: as `kept_in_browser` returns it.
    """
    cases = Cases(registry, HeatmapCache())
    screens: dict[str, gr.Column] = {}
    with gr.Column(elem_id="reader-setup") as screens["setup"]:
        setup = reader_setup.build(cases)
    with gr.Column(visible=False, elem_id="reader-case") as screens["case"]:
        case = reader_case()
    with gr.Column(visible=False, elem_id="reader-result") as screens["result"]:
        result = reader_result.build(cases, kept)
    tab = ReaderStudyTab(pickers, cases, kept, screens, setup, case, result)
    _connect(tab)
    return tab


def _connect(tab: ReaderStudyTab) -> None:
    setup, selection = tab.setup, tab.pickers.selection
    step = tab.session_outputs | {tab.kept}
    start_inputs = tab.pickers.inputs | setup.inputs
    start_outputs = step | {setup.start, setup.status} | upload_outputs(setup) | tab.pickers.outputs
    started = connect(
        setup.start.click, tab.start, start_inputs, start_outputs, concurrency_id="model", **NO_SPINNER
    )
    connect(started.failure, tab.ready, None, {setup.start, setup.status}, **NO_SPINNER)
    committed = connect(tab.case.commit, tab.commit, {tab.kept}, step, **AT_ONCE)
    proceeded = connect(tab.case.proceed, tab.proceed, {tab.kept}, step, **AT_ONCE)
    for event in (started, committed, proceeded):
        connect(event.success, tab.prepare, {tab.kept}, (), concurrency_id="map", **NO_SPINNER)
    discarded = step | setup.outputs
    connect(tab.case.discard, tab.discard, {selection}, discarded, **AT_ONCE)
    connect(tab.result.again.click, tab.set_up_another, {selection}, tab.outputs, **AT_ONCE)
    connect(setup.back.click, tab.update, tab.inputs, tab.outputs, **AT_ONCE)
    connect(setup.upload.upload, setup.open_upload, {setup.upload}, upload_outputs(setup), **PRIVATE)
    connect(setup.clear.click, setup.clear_upload, None, upload_outputs(setup), **AT_ONCE)


def connect_tabs(demo: gr.Blocks, tab_bar: gr.Tabs, tab: ReaderStudyTab, redraw: dict[str, gr.State]) -> None:
    """Open a misled case in Explore, and the tab Data for a download; prepare a study after a reload.

    Args:
        redraw: label of a tab -> its redraw counter.
    """

    def open_misled(values: Values, event: gr.EventData) -> Values:
        counter = redraw["Explore"]
        changes = {tab_bar: gr.Tabs(selected="explore"), counter: values[counter] + 1}
        return tab.open_misled(values, event) | changes

    def open_data(values: Values) -> Values:
        return {tab_bar: gr.Tabs(selected="data"), redraw["Data"]: values[redraw["Data"]] + 1}

    pickers, counters = tab.pickers, {redraw["Explore"], redraw["Data"]}
    opened = {tab_bar} | counters | pickers.outputs
    misled = tab.result.misled.select  # type: ignore[attr-defined]
    connect(misled, open_misled, {tab.kept} | pickers.inputs | counters, opened, **NO_SPINNER)
    connect(tab.setup.to_data.click, open_data, counters, {tab_bar} | counters, **NO_SPINNER)
    connect(demo.load, tab.prepare, {tab.kept}, (), concurrency_id="map", **NO_SPINNER)
    demo.load(None, js=FOLLOW_OTHER_TABS, **PRIVATE)


def upload_outputs(setup: SetupPanel) -> set[Any]:
    """What taking over an uploaded study.json sets."""
    return {
        setup.uploaded, setup.uploaded_note, setup.clear, setup.count, setup.balanced, setup.wrong,
        setup.conditions, setup.method, setup.seed,
    }  # fmt: skip


def _is_on_display(session: Session, event: gr.EventData) -> bool:
    """Whether an event is about the case and the phase that the session is in."""
    place = getattr(event, "case", None), getattr(event, "phase", None)
    return place == (session.number, session.phase)
