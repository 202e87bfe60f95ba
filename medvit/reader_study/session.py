"""The reading of a study by one reader: what has been answered, in the form that the browser keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from medvit.errors import MedvitError
from medvit.reader_study.results import DAY, CaseResult
from medvit.reader_study.study import Case, Study, text

if TYPE_CHECKING:
    from medvit.reader_study.advice import Advice

VERSION = 1
READER = "reader 1"
Phase = Literal["first", "final", "truth", "done"]


@dataclass(frozen=True)
class Judgement:
    """An answer of the reader: class index, how sure the reader is of it in 0..1, and the time it took."""

    answer: int
    confidence: float
    seconds: float

    @classmethod
    def parse(cls, answer: Any, confidence: Any, seconds: Any) -> Judgement:
        """Values of any origin as a judgement; a time beyond a day counts as a day.

        Raises:
            ValueError, TypeError or OverflowError: a value is of another kind or out of its range.
        """
        answer, confidence, seconds = int(answer), float(confidence), float(seconds)
        if answer < 0 or not 0 <= confidence <= 1 or not seconds >= 0:
            raise ValueError("out of range")
        return cls(answer, round(confidence, 4), round(min(seconds, DAY), 2))


@dataclass(frozen=True)
class Session:
    """What one reader has answered so far.

    `training`: the truth is displayed after each case, otherwise at the end. `practice`: the images are
    drawings. `answers`: first and final judgement of each case that is finished. `first`: that of the current
    case, once it is committed. `truth_open`: the truth of the last finished case is on display.
    """

    study: Study
    reader: str = READER
    training: bool = False
    practice: bool = False
    answers: tuple[tuple[Judgement, Judgement], ...] = ()
    first: Judgement | None = None
    truth_open: bool = False

    @property
    def number(self) -> int:
        """Number of the case on display, from 0."""
        return len(self.answers) - (self.phase in ("truth", "done"))

    @property
    def case(self) -> Case:
        """The case on display; the last one where the study is done."""
        return self.study.cases[self.number]

    @property
    def phase(self) -> Phase:
        """What is asked for: a first or a final answer, a look at the truth, or nothing more."""
        if self.truth_open:
            return "truth"
        if len(self.answers) == len(self.study.cases):
            return "done"
        return "first" if self.first is None else "final"

    def commit(self, judgement: Judgement) -> Session:
        """The session after an answer; a first one is followed by the advice."""
        if self.phase == "first":
            return replace(self, first=judgement)
        if self.phase != "final" or self.first is None:
            raise MedvitError("No answer is asked for at this point of the study.")
        answers = (*self.answers, (self.first, judgement))
        return replace(self, answers=answers, first=None, truth_open=self.training)

    def close_truth(self) -> Session:
        """The session after a look at the truth."""
        return replace(self, truth_open=False)

    def to_dict(self) -> dict[str, Any]:
        """The session as plain types."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> Session:
        """The inverse of `to_dict`, for content of any origin.

        Raises:
            MedvitError: it is not a session.
        """
        try:
            study = Study.from_dict(content["study"])
            answers = tuple((_parse(first), _parse(final)) for first, final in content["answers"])
            first = content["first"] and _parse(content["first"])
            flags = [content[name] for name in ("training", "practice", "truth_open")]
            session = cls(
                study, text(content["reader"]), flags[0], flags[1], answers, first or None, flags[2]
            )
            valid = content["version"] == VERSION and all(isinstance(flag, bool) for flag in flags)
            valid = valid and len(answers) + (first is not None) <= len(study.cases)
            valid = valid and not (session.truth_open and (first or not answers))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise MedvitError("The study that this browser keeps is damaged. Start a new one.") from error
        if not valid:
            raise MedvitError("The study that this browser keeps is of another version. Start a new one.")
        return session

    def rows(self, advice: Advice) -> list[CaseResult]:
        """The finished cases as rows of the CSV.

        Raises:
            MedvitError: the study does not fit the images that the advice is about.
        """
        check_fit(self, advice)
        code, predicted = self.study.code, advice.predicted
        return [
            CaseResult(
                reader=self.reader,
                study=code,
                case=number,
                dataset=self.study.dataset,
                index=case.index,
                truth=advice.classes[advice.labels[case.index]],
                condition=case.condition,
                first_answer=advice.classes[first.answer],
                first_confidence=first.confidence,
                advice=advice.classes[predicted[case.index]],
                advice_probability=float(advice.probs[case.index].max()),
                final_answer=advice.classes[final.answer],
                final_confidence=final.confidence,
                seconds_first=first.seconds,
                seconds_final=final.seconds,
                model_correct=bool(advice.labels[case.index] == predicted[case.index]),
            )
            for number, (case, (first, final)) in enumerate(
                zip(self.study.cases, self.answers, strict=False), start=1
            )
        ]


def check_fit(session: Session, advice: Advice) -> None:
    """Raise MedvitError where the study has an image, or an answer a class, that does not exist."""
    judgements = [judgement for pair in session.answers for judgement in pair]
    judgements += [session.first] if session.first else []
    if any(case.index >= len(advice.labels) for case in session.study.cases) or any(
        judgement.answer >= len(advice.classes) for judgement in judgements
    ):
        raise MedvitError("This study does not fit the dataset on this machine. Start a new one.")


def confidence_steps(classes: int) -> Sequence[float]:
    """The levels of confidence on offer: five, evenly from chance to certainty; for two classes 5 % apart."""
    chance = 1 / classes
    count = 11 if classes == 2 else 5
    return [round(chance + (1 - chance) * i / (count - 1), 4) for i in range(count)]


def _parse(content: Any) -> Judgement:
    return Judgement.parse(content["answer"], content["confidence"], content["seconds"])
