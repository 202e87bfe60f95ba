"""Reader study: how well people decide alone, and with a model's advice.

The design is the one of clinical reader studies: a first answer alone, then the model's advice, then a final
answer. `make_study` draws the cases, `summarize` turns the answers into metrics. Pure functions of arrays and
rows; `read_csv` and `to_csv` convert the rows.

Appropriate reliance follows Schemmer et al. (IUI 2023): RAIR is the fraction of the cases with a wrong first
answer and right advice whose final answer is right; RSR the fraction of those with a right first answer and
wrong advice whose final answer is right.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from medvit.errors import MedvitError
from medvit.evaluation.metrics import mcnemar, wilson
from medvit.slow_imports import sklearn_metrics

CONDITIONS = {
    "none": "no advice",
    "answer": "the model's answer with its probability",
    "set": "answer and prediction set",
    "heatmap": "answer and heatmap",
}
MAX_CASES = 1000
MIN_CASES = 50  # with fewer, an interval of the accuracy is wider than 27 points
MIN_EVENTS = 10  # behind a reliance
BOOTSTRAP_DRAWS = 2000
VERSION = 1

Interval = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """One image of a study: its index in the test split, and what the reader is shown beside it."""

    index: int
    condition: str


@dataclass(frozen=True)
class Study:
    """The cases of a study in their order, the same for every reader.

    `checkpoint` is the sha256 of the weights whose answers are the advice; another model would make it another
    study. `seed` and the options of `make_study` are kept for the record.
    """

    dataset: str
    model: str
    checkpoint: str
    seed: int
    balanced: bool
    wrong_fraction: float | None
    cases: tuple[Case, ...]

    @property
    def code(self) -> str:
        """Eight hexadecimal digits that differ between any two studies."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def to_json(self) -> str:
        """The content of study.json."""
        return json.dumps({"version": VERSION, "code": self.code} | asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Study":
        """Read study.json.

        Raises:
            MedvitError: it is not one, or was changed by hand.
        """
        try:
            content = json.loads(text)
            version, code = content.pop("version"), content.pop("code")
            cases = tuple(Case(int(case["index"]), str(case["condition"])) for case in content.pop("cases"))
            study = cls(cases=cases, **content)
            valid = version == VERSION and code == study.code and 0 < len(cases) <= MAX_CASES
            valid = valid and all(case.index >= 0 and case.condition in CONDITIONS for case in cases)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise MedvitError(f"This is not a study.json of medvit ({error}).") from error
        if not valid:
            raise MedvitError("This study.json is damaged, was changed, or is of another version of medvit.")
        return study


def make_study(
    dataset: str,
    model: str,
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    checkpoint: str = "",
    cases: int = 20,
    conditions: Sequence[str] = ("answer",),
    balanced: bool = False,
    wrong_fraction: float | None = None,
    seed: int = 0,
) -> Study:
    """Draw the cases of a study from a test split.

    The conditions are randomised in permuted blocks, separately where the model is right and where it is
    wrong, so that each gets its share of both.

    Args:
        labels, predicted: class indices (N,), the true ones and the model's.
        balanced: the same number of images of each class, as far as they last; otherwise as they occur.
        wrong_fraction: fraction of the cases in which the model is wrong; None: as it occurs.

    Raises:
        MedvitError: the test split has too few such images, or an option is out of its range.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise MedvitError("A reader study needs images with one label each.")
    if not 1 <= cases <= min(MAX_CASES, len(labels)):
        raise MedvitError(f"A study of this dataset can have 1 to {min(MAX_CASES, len(labels)):,} cases.")
    if not conditions or len(set(conditions)) != len(conditions) or set(conditions) - set(CONDITIONS):
        raise MedvitError(f"Name one or more conditions, each once: {', '.join(CONDITIONS)}.")
    if wrong_fraction is not None and not 0 <= wrong_fraction <= 1:
        raise MedvitError(f"The fraction of wrong advice is between 0 and 1, not {wrong_fraction:g}.")
    rng = np.random.default_rng(seed)
    wrong = predicted != labels
    if wrong_fraction is None:
        drawn = _draw(rng, np.arange(len(labels)), labels, cases, balanced)
    else:
        count = round(cases * wrong_fraction)
        if count > wrong.sum() or cases - count > (~wrong).sum():
            raise MedvitError(
                f"The model is wrong on {wrong.sum():,} and right on {(~wrong).sum():,} test images, too few for "
                f"{count} and {cases - count}. Choose fewer cases or another fraction."
            )
        drawn = _draw(rng, np.flatnonzero(wrong), labels, count, balanced)
        drawn += _draw(rng, np.flatnonzero(~wrong), labels, cases - count, balanced, labels[drawn])
    by_advice = sorted(rng.permutation(drawn).tolist(), key=lambda index: not wrong[index])
    blocks = -(-cases // len(conditions))
    assigned = [str(name) for _ in range(blocks) for name in rng.permutation(list(conditions))][:cases]
    pairs = [Case(index, condition) for index, condition in zip(by_advice, assigned, strict=True)]
    order = rng.permutation(cases)
    return Study(
        dataset, model, checkpoint, seed, balanced, wrong_fraction, tuple(pairs[i] for i in order)
    )


def _draw(
    rng: np.random.Generator,
    pool: np.ndarray,
    labels: np.ndarray,
    count: int,
    balanced: bool,
    already: np.ndarray | None = None,
) -> list[int]:
    """Draw `count` indices of `pool` without replacement; balanced: next is a class with the fewest so far."""
    if not balanced:
        return rng.choice(pool, count, replace=False).tolist()
    remaining = {int(label): rng.permutation(pool[labels[pool] == label]).tolist() for label in np.unique(labels)}
    counts = {label: 0 if already is None else int((already == label).sum()) for label in remaining}
    drawn = []
    for _ in range(count):
        candidates = [label for label, indices in remaining.items() if indices]
        fewest = min(counts[label] for label in candidates)
        label = int(rng.choice([label for label in candidates if counts[label] == fewest]))
        drawn.append(remaining[label].pop())
        counts[label] += 1
    return drawn


@dataclass(frozen=True)
class Reading:
    """One case read by one reader: a row of the CSV.

    Answers are class names. `advice` and `advice_probability` are those of the model, also where the condition
    is "none" and they were not shown. Confidences and probabilities are in 0..1: how sure the reader is that
    the answer is right. Times are in seconds.
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


COLUMNS = tuple(field.name for field in fields(Reading))


def to_csv(rows: Iterable[Reading]) -> str:
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
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def read_csv(text: str, name: str = "The file") -> list[Reading]:
    """Read the rows of a CSV.

    Args:
        name: of the file, for error messages.

    Raises:
        MedvitError: a column is missing, or a row has a value that is out of range; the text gives its line.
    """
    reader = csv.DictReader(io.StringIO(text))
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise MedvitError(f"{name} is not the CSV of a reader study: it has no column {missing[0]!r}.")
        rows = []
        for number, record in enumerate(reader, start=2):
            try:
                rows.append(_parse(record))
            except (ValueError, TypeError) as error:
                raise MedvitError(f"{name}, line {number}: {error}.") from error
    except csv.Error as error:
        raise MedvitError(f"{name} is not a CSV ({error}).") from error
    if not rows:
        raise MedvitError(f"{name} has no rows.")
    return rows


def _parse(record: dict[str, str | None]) -> Reading:
    values: dict[str, Any] = {}
    for field in fields(Reading):
        text = record[field.name]
        if text is None:
            raise ValueError(f"{field.name} is missing")
        text = text.strip().removeprefix("'")
        if field.type is bool:
            if text.lower() not in ("0", "1", "true", "false"):
                raise ValueError(f"{field.name} is {text!r} and not 0 or 1")
            values[field.name] = text.lower() in ("1", "true")
        else:
            values[field.name] = field.type(text)  # type: ignore[operator]
        value = values[field.name]
        if isinstance(value, float) and not (0 <= value <= (1 if "_" in field.name[5:] else 1e6)):
            raise ValueError(f"{field.name} is {text}, out of its range")
    row = Reading(**values)
    if row.condition not in CONDITIONS:
        raise ValueError(f"there is no condition {row.condition!r}")
    if row.model_correct != (row.advice == row.truth):
        raise ValueError("model_correct does not fit advice and truth")
    return row
