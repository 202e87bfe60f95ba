"""The answers of readers: one row a case, as CSV in long form."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.reader_study.study import CONDITIONS

DAY = 86_400.0
LARGEST = {  # of numbers; the least is 0
    "first_confidence": 1.0, "advice_probability": 1.0, "final_confidence": 1.0,
    "seconds_first": DAY, "seconds_final": DAY,
}  # fmt: skip
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
FORMULA = re.compile(r"['\s]*[=+\-@＝＋－＠]")  # how a cell begins that a spreadsheet would run


@dataclass(frozen=True)
class CaseResult:
    """One case read by one reader: a row of the CSV.

    Answers are class names. `advice` and `advice_probability` are those of the model, also in the condition
    "none", in which they were not shown. A confidence is how sure the reader is of the answer, in 0..1. Times
    are in seconds.
    """

    reader: str
    study: str
    case: int
    dataset: str
    index: int
    truth: str
    condition: str
    first_answer: str
    first_confidence: float
    advice: str
    advice_probability: float
    final_answer: str
    final_confidence: float
    seconds_first: float
    seconds_final: float
    model_correct: bool

    @property
    def advised(self) -> bool:
        """Whether the advice was shown."""
        return self.condition != "none"


COLUMNS = tuple(field.name for field in fields(CaseResult))


def positive_classes(rows: Sequence[CaseResult], own: str | None = None) -> dict[str, str]:
    """The positive class of each two-class dataset among the rows.

    Args:
        own: that of the dataset of one's own pictures, whose classes a CSV does not tell; None where there is
            none, or where it has more than two classes.

    Raises:
        MedvitError: `own` is no class of such a dataset, or the dataset has more than two.
    """
    names = {row.dataset for row in rows}
    datasets = [medmnist.get(name) for name in sorted(names & set(medmnist.names()))]
    positive = {
        dataset.name: dataset.classes[dataset.settings.positive_class]
        for dataset in datasets
        if dataset.task == "binary-class"
    }
    if own is None:
        return positive
    of_own = {}
    for name in names - set(medmnist.names()):
        classes = _classes(row for row in rows if row.dataset == name)
        if own in classes and len(classes) == 2:
            of_own[name] = own
    if not of_own:
        raise MedvitError(f"There is no dataset of one's own pictures with two classes, one of them {own!r}.")
    return positive | of_own


def _classes(rows: Iterable[CaseResult]) -> set[str]:
    """The classes that occur."""
    return {name for row in rows for name in (row.truth, row.first_answer, row.advice, row.final_answer)}


def to_csv(rows: Iterable[CaseResult]) -> str:
    """The rows as CSV; a cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in asdict(row).values()] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.4f}"
    text = CONTROL.sub(" ", str(value))
    return f"'{text}" if FORMULA.match(text) else text


def check(rows: Sequence[CaseResult]) -> None:
    """Check that rows, which may come from several files, can be summarized together.

    Raises:
        MedvitError: a reader has a case twice, or rows contradict each other about an image or a case.
    """
    counts = Counter((row.reader, row.study, row.case) for row in rows)
    if repeated := [reader for (reader, _, _), count in counts.items() if count > 1]:
        raise MedvitError(
            f"{len(repeated)} cases of the reader {repeated[0]!r} are there twice. Name each file once; if "
            "two people have the same name, give one of them another in the column reader."
        )
    truths: dict[tuple[str, int], str] = {}
    cases: dict[tuple[str, int], tuple[int, str, str]] = {}
    for row in rows:
        if truths.setdefault((row.dataset, row.index), row.truth) != row.truth:
            raise MedvitError(f"Image {row.index} of {row.dataset!r} has different true classes in two rows.")
        content = row.index, row.condition, row.advice
        if cases.setdefault((row.study, row.case), content) != content:
            raise MedvitError(
                f"Case {row.case} of the study {row.study!r} has another image, condition or advice in two "
                "rows."
            )


def read_csv(text: str, name: str = "The file") -> list[CaseResult]:
    """Read the rows of a CSV.

    Args:
        name: of the file, for error messages.

    Columns are separated by commas, or by semicolons, as some spreadsheets save them.

    Raises:
        MedvitError: a column is missing or there twice, or a row has a value that is absent or out of range;
            the text gives its line.
    """
    text = text.removeprefix("\ufeff")
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = list(reader.fieldnames or ())
        if missing := [column for column in COLUMNS if column not in columns]:
            raise MedvitError(f"{name} is not the CSV of a reader study: it has no column {missing[0]!r}.")
        if repeated := [column for column in COLUMNS if columns.count(column) > 1]:
            raise MedvitError(f"{name} has the column {repeated[0]!r} twice.")
        rows = []
        for record in reader:
            try:
                rows.append(_parse(record))
            except (ValueError, TypeError) as error:
                raise MedvitError(f"{name}, line {reader.line_num}: {error}.") from error
    except csv.Error as error:
        raise MedvitError(f"{name} is not a CSV ({error}).") from error
    if not rows:
        raise MedvitError(f"{name} has no rows.")
    return rows


def _parse(record: dict[str, str | None]) -> CaseResult:
    if None in record:
        raise ValueError("it has more cells than there are columns")
    values = {field.name: _value(field.name, field.type, record[field.name]) for field in fields(CaseResult)}
    row = CaseResult(**values)
    if row.condition not in CONDITIONS:
        raise ValueError(f"there is no condition {row.condition[:40]!r}")
    if row.model_correct != (row.advice == row.truth):
        raise ValueError("model_correct does not fit advice and truth")
    if row.dataset in medmnist.names():
        classes = medmnist.get(row.dataset).classes
        if unknown := [name for name in sorted(_classes([row])) if name not in classes]:
            raise ValueError(f"{row.dataset} has no class {unknown[0][:40]!r}")
    return row


def _value(name: str, kind: Any, text: str | None) -> Any:
    if text is None:
        raise ValueError(f"{name} is missing")
    if text.startswith("'") and FORMULA.match(text):
        text = text[1:]
    if kind is str:
        if not text.strip():
            raise ValueError(f"{name} is empty")
        if CONTROL.search(text):
            raise ValueError(f"{name} has control characters")
        return text.strip(" ")
    try:
        value = {"0": False, "1": True}[text] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"{name} is {text[:40]!r}") from None
    if kind is not bool and not 0 <= value <= LARGEST.get(name, float("inf")):
        raise ValueError(f"{name} is {text[:40]}, out of its range")
    return value
