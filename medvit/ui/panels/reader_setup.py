"""The set-up of a reader study: the cases, the conditions to compare, and a study.json of another reader."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medvit import explain
from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError
from medvit.explain.ranking import rank
from medvit.inference.registry import Registry
from medvit.reader_study import CONDITIONS, Session, Study, make_study
from medvit.reader_study.advice import Advice
from medvit.reader_study.session import READER
from medvit.reader_study.study import MAX_BYTES
from medvit.ui import html
from medvit.ui.components.base import lenient
from medvit.ui.components.upload import file_button
from medvit.ui.panels.reader_case import Cases, why_impossible
from medvit.ui.state import Selection, Values, show_user_errors

CASES = (10, 20, 50, 100)
WRONG: list[tuple[str, float]] = [
    ("as it occurs", -1.0),
    ("25 % of the cases", 0.25),
    ("50 % of the cases", 0.5),
]
MOST_FAITHFUL = ""  # in the picker of the heatmap
READER_CHARACTERS = 40
PRACTICE_CASES = 10


@dataclass(frozen=True, eq=False)
class SetupPanel:
    """The components. `uploaded` holds an uploaded study as a session without answers."""

    cases: Cases
    about: gr.HTML
    reader: gr.Textbox
    count: gr.Radio
    balanced: gr.Radio
    wrong: gr.Radio
    conditions: gr.CheckboxGroup
    method: gr.Dropdown
    training: gr.Radio
    seed: gr.Number
    start: gr.Button
    upload: gr.UploadButton
    uploaded: gr.JSON
    uploaded_note: gr.HTML
    clear: gr.Button
    to_data: gr.Button
    back: gr.Button
    status: gr.HTML

    @property
    def inputs(self) -> set[Any]:
        """What `make` reads."""
        return {
            self.reader, self.count, self.balanced, self.wrong, self.conditions, self.method, self.training,
            self.seed, self.uploaded,
        }  # fmt: skip

    @property
    def outputs(self) -> set[Any]:
        """What `update` sets."""
        return {self.about, self.method, self.start, self.to_data, self.back, self.status}

    @property
    def registry(self) -> Registry:
        """That of the app."""
        return self.cases.registry

    def update(self, selection: Selection, kept: bool, problem: str = "") -> Values:
        """The set-up for the selected dataset and model.

        Args:
            kept: whether the browser keeps a study.
            problem: why the kept study cannot go on, a sentence.
        """
        checkpoint = self.registry.checkpoint(*selection.checkpoint)
        has_data, reason = _has_images(self.registry, selection), why_impossible(checkpoint)
        methods = [(explain.METHODS[name].title, name) for name in rank(checkpoint.card)]
        start = "Start" if has_data else f"Practise on {PRACTICE_CASES} drawings"
        return {
            self.about: html.render(
                "reader_setup.html",
                title=f"{checkpoint.dataset.title} · {checkpoint.title}",
                reason=reason,
                has_data=has_data,
                wrong=0 if reason else _wrong(checkpoint),
                total=len(checkpoint.test_labels),
            ),
            self.method: gr.Dropdown([("most faithful", MOST_FAITHFUL), *methods], value=MOST_FAITHFUL),
            self.start: gr.Button(start, interactive=not reason),
            self.to_data: gr.Button(visible=not reason and not has_data),
            self.back: gr.Button(visible=kept and not problem),
            self.status: html.status(problem) if problem else "",
        }

    def make(self, values: Values, selection: Selection) -> Session:
        """The session that the controls ask for, with the uploaded study or a new one.

        Raises:
            MedvitError: such a study is not possible.
        """
        reader = str(values[self.reader] or "").strip()[:READER_CHARACTERS] or READER
        training = bool(values[self.training])
        if values[self.uploaded] is not None:
            session = Session.from_dict(values[self.uploaded])
            self._check(session)
            return Session(session.study, reader, training)
        practice = not _has_images(self.registry, selection)
        about = self.cases.advice_on(*selection.checkpoint, practice)
        conditions = tuple(values[self.conditions] or ())
        _check_sets(conditions, about)
        wrong = -1.0 if practice else float(values[self.wrong])
        study = make_study(
            *selection.checkpoint,
            about.labels,
            about.predicted,
            checkpoint=self.registry.checkpoint(*selection.checkpoint).card["sha256"],
            cases=PRACTICE_CASES if practice else int(values[self.count]),
            conditions=conditions,
            balanced=not practice and bool(values[self.balanced]),
            wrong_fraction=None if wrong < 0 else wrong,
            method=self._method(values, selection),
            seed=int(values[self.seed] or 0),
        )
        return Session(study, reader, training, practice)

    def _check(self, session: Session) -> None:
        """Raise MedvitError where the model, its prediction sets or the images of a study are not here."""
        about = self.cases.advice(session)
        _check_sets([case.condition for case in session.study.cases], about)
        self.registry.test_images(session.study.dataset, session.study.model)

    def _method(self, values: Values, selection: Selection) -> str:
        if "heatmap" not in (values[self.conditions] or ()):
            return ""
        return values[self.method] or self.registry.predictor(*selection.checkpoint).explainer.best_method()

    @show_user_errors
    def open_upload(self, values: Values) -> Values:
        """Take over an uploaded study.json."""
        path = Path(values[self.upload])
        try:
            size = path.stat().st_size
            content = path.read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            raise MedvitError("This file is not here any more. Upload it again.") from error
        study = Study.from_json(content)
        self._check(Session(study))
        displayed = {case.condition for case in study.cases}
        note = html.render(
            "reader_uploaded.html",
            study=study,
            checkpoint=self.registry.checkpoint(study.dataset, study.model),
            conditions=[title for name, title in CONDITIONS.items() if name in displayed],
        )
        return {self.uploaded: Session(study).to_dict(), self.uploaded_note: note} | self._own(False)

    def clear_upload(self) -> Values:
        """Go back to the reader's own settings."""
        return {self.uploaded: None, self.uploaded_note: ""} | self._own(True)

    def _own(self, own: bool) -> Values:
        """Enable or disable the controls that make a new study."""
        controls = (self.count, self.balanced, self.wrong, self.conditions, self.method, self.seed)
        changes: Values = {control: type(control)(interactive=own) for control in controls}
        return changes | {self.clear: gr.Button(visible=not own)}


def build(cases: Cases) -> SetupPanel:
    """Lay out the panel."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            gr.HTML(html.panel_title("Set up a study"))
            with gr.Row():
                reader = gr.Textbox(
                    READER, label="Reader, for the CSV", max_length=READER_CHARACTERS, scale=2, min_width=140
                )
                count = gr.Radio(list(CASES), value=20, label="Cases", scale=3, min_width=300)
            with gr.Row():
                training = gr.Radio(
                    [("at the end", False), ("after each case", True)], value=False, label="Truth",
                    min_width=240,
                )  # fmt: skip
                balanced = gr.Radio(
                    [("as they occur", False), ("balanced", True)], value=False, label="Classes",
                    min_width=240,
                )  # fmt: skip
            wrong = gr.Radio(WRONG, value=WRONG[0][1], label="The model is wrong")
            conditions = gr.CheckboxGroup(
                [(title, name) for name, title in CONDITIONS.items()], value=list(CONDITIONS),
                label="Conditions to compare, drawn at random for each case",
            )  # fmt: skip
            with gr.Accordion("Heatmap and seed", open=False):
                method = lenient(gr.Dropdown)(
                    [("most faithful", MOST_FAITHFUL)], value=MOST_FAITHFUL, label="Heatmap", min_width=140
                )
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=100)
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="reader-start")
                back = gr.Button("Back to my study", visible=False)
            status = gr.HTML(elem_id="reader-status")
        with gr.Column(scale=5, min_width=300):
            about = gr.HTML(elem_id="reader-about")
            to_data = gr.Button("Download the images in the tab Data", visible=False, size="sm")
            gr.HTML(html.panel_title("The same study for another reader"))
            upload = file_button(
                "Open a study.json", file_types=[".json"], size="sm", elem_id="reader-upload"
            )
            note = gr.HTML()
            clear = gr.Button("Use my own settings instead", visible=False, size="sm")
            uploaded = gr.JSON(elem_id="reader-uploaded")
    return SetupPanel(
        cases, about, reader, count, balanced, wrong, conditions, method, training, seed, start, upload,
        uploaded, note, clear, to_data, back, status,
    )  # fmt: skip


def _has_images(registry: Registry, selection: Selection) -> bool:
    """Whether the images that the model was tested on are here."""
    try:
        registry.test_images(*selection.checkpoint)
    except MedvitError:
        return False
    return True


def _check_sets(conditions: Iterable[str], about: Advice) -> None:
    if "set" in conditions and about.sets is None:
        raise MedvitError(
            f"This model has no prediction sets. Leave out the condition {CONDITIONS['set']!r}, or compute "
            "them with `medvit evaluate FOLDER --fit`."
        )


def _wrong(checkpoint: Checkpoint) -> int:
    """How many test images the model gets wrong."""
    return int((checkpoint.test_logits.argmax(1) != checkpoint.test_labels).sum())
