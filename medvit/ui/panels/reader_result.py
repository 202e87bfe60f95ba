"""The result of a reader study: reader, model and both together, and where the advice misled."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import plots
from medvit.data import short_name
from medvit.errors import MedvitError
from medvit.reader_study import Session, report, summarize, to_csv
from medvit.reader_study.calibration import calibration_points
from medvit.reader_study.report import Section
from medvit.reader_study.results import CaseResult
from medvit.ui import html
from medvit.ui.components import download_button, gallery
from medvit.ui.components.gallery import Item
from medvit.ui.panels.reader_case import Cases
from medvit.ui.state import Values

ANSWERS = {"reader": "you alone", "model": "model alone", "reader_with_model": "you with the model"}
SECOND_LOOK = {"reader_with_model": "you, second look"}  # where no case has advice
MISLED = "Advice misled you: right at first, then changed to the model's wrong answer"
NO_MISLED = "No right first answer was changed to the model's wrong one."
# After the last case, a phone is scrolled down.
SCROLL_UP = "watch('value', () => element.getBoundingClientRect().top < 0 && element.scrollIntoView());"


@dataclass(frozen=True, eq=False)
class ResultPanel:
    """The components. `kept` is the browser's own storage with the session."""

    cases: Cases
    kept: gr.BrowserState
    summary: gr.HTML
    diagram: gr.Plot
    misled: gr.HTML
    tables: gr.HTML
    csv: gr.Button
    study: gr.Button
    again: gr.Button

    @property
    def outputs(self) -> set[Any]:
        """What `update` sets."""
        return {self.summary, self.diagram, self.misled, self.tables, self.csv, self.study}

    def update(self, session: Session) -> Values:
        """Everything about a finished study.

        Raises:
            MedvitError: the model or the images of the study are not here.
        """
        rows = session.rows(self.cases.advice(session))
        dataset = self.cases.registry.checkpoint(session.study.dataset, session.study.model).dataset
        positive = {dataset.name: dataset.classes[dataset.settings.positive_class]}
        result = summarize(rows, positive if len(dataset.classes) == 2 else None)
        pooled = result["pooled"]
        answers = ANSWERS if pooled["advised"] else ANSWERS | SECOND_LOOK
        sections = report.sections(result)
        return {
            self.summary: html.render(
                "reader_result.html",
                session=session,
                accuracy={title: pooled["accuracy"][name] for name, title in answers.items()},
                change=pooled["change"],
                advised=pooled["advised"],
                seconds=pooled["seconds"],
                conclusion=result["conclusion"],
            ),
            self.tables: html.render("reader_tables.html", sections=sections, cases=case_table(rows)),
            self.diagram: plots.confidence_diagram(diagram_curves(rows)),
            self.misled: self._gallery(session, pooled["misled"]),
            self.csv: gr.Button(visible=not session.practice),
            self.study: gr.Button(visible=not session.practice),
        }

    def _gallery(self, session: Session, rows: list[CaseResult]) -> str:
        note = "Click one to open it in Explore." if rows and not session.practice else ""
        pictures = [self.cases.source(session, row.index) for row in rows]
        items = [_item(row, session.practice) for row in rows]
        return gallery.render(MISLED, note if rows else NO_MISLED, items, pictures)

    def save_csv(self, values: Values) -> tuple[str, str]:
        """File name and text of the answers as CSV."""
        session = Session.from_dict(values[self.kept])
        if session.practice or not session.answers:
            raise MedvitError("There are no answers to save. A study on test images gives a CSV.")
        name = f"reader-study-{session.study.code}-{_file_name(session.reader)}.csv"
        return name, to_csv(session.rows(self.cases.advice(session)))

    def save_study(self, values: Values) -> tuple[str, str]:
        """File name and text of study.json."""
        return "study.json", Session.from_dict(values[self.kept]).study.to_json()


def build(cases: Cases, kept: gr.BrowserState) -> ResultPanel:
    """Lay out the panel."""
    summary = gr.HTML(elem_id="reader-summary", js_on_load=SCROLL_UP)
    with gr.Row(elem_id="reader-files"):
        # The buttons call methods of the panel, which exists once they do.
        csv = download_button.button(
            "Save the answers (CSV)",
            lambda values: panel.save_csv(values),
            {kept},
            variant="primary",
            size="sm",
        )
        study = download_button.button(
            "Save study.json for another reader", lambda values: panel.save_study(values), {kept}, size="sm"
        )
        again = gr.Button("New study", size="sm")
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=300):
            gr.HTML(html.panel_title("Reliability of your confidence"))
            diagram = gr.Plot(show_label=False, container=False)
        with gr.Column(scale=5, min_width=300):
            misled = gallery.gallery(elem_id="reader-misled")
    tables = gr.HTML(elem_id="reader-tables")
    panel = ResultPanel(cases, kept, summary, diagram, misled, tables, csv, study, again)
    return panel


def diagram_curves(rows: list[CaseResult]) -> dict[str, list[dict[str, Any]]]:
    """The points of the reliability diagram: of the first and of the final answers."""
    return {
        "first answer": calibration_points(
            [row.first_confidence for row in rows], [row.first_answer == row.truth for row in rows]
        ),
        "final answer": calibration_points(
            [row.final_confidence for row in rows], [row.final_answer == row.truth for row in rows]
        ),
    }


def case_table(rows: list[CaseResult]) -> Section:
    """Every case with its true class, and which answers were right."""
    columns = ("case", "true class", "first answer", "advice", "final answer", "seconds")
    cases = [
        (
            str(row.case),
            short_name(row.truth),
            _marked(row.first_answer, row.truth),
            _marked(row.advice, row.truth) if row.advised else "not shown",
            _marked(row.final_answer, row.truth),
            f"{row.seconds_first + row.seconds_final:.1f}",
        )
        for row in rows
    ]
    return Section("Every case with its true class", columns, cases)


def _marked(answer: str, truth: str) -> str:
    return f"{'✓' if answer == truth else '✗'} {short_name(answer)}"


def _item(row: CaseResult, practice: bool) -> Item:
    truth, final = short_name(row.truth), short_name(row.final_answer)
    image = f"synthetic example {row.index}" if practice else f"test image {row.index}"
    description = f"Case {row.case}, {image}: true class {truth}, changed to {final}"
    return Item(None if practice else row.index, f"case {row.case}", description)


def _file_name(reader: str) -> str:
    """The name of a reader as part of a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in reader)[:40].strip("-") or "reader"
