"""The reading of a study by one reader, and the form in which the browser keeps it."""

import json

import numpy as np
import pytest

from medvit.errors import MedvitError
from medvit.reader_study import Judgement, Session, make_study
from medvit.reader_study.advice import Advice
from medvit.reader_study.session import confidence_steps

LABELS = np.array([0, 1, 2, 0, 1, 2])
PROBS = np.eye(3)[[0, 1, 2, 1, 1, 2]] * 0.7 + 0.1  # wrong on image 3
ADVICE = Advice(("a", "b", "c"), LABELS, PROBS, None, 0.95)
STUDY = make_study("bloodmnist", "cnn", LABELS, ADVICE.predicted, cases=4, conditions=("none", "answer"))
FIRST, FINAL = Judgement(0, 0.6, 3.0), Judgement(1, 0.8, 1.5)


def finished(**options):
    session = Session(STUDY, **options)
    for _ in STUDY.cases:
        session = session.commit(FIRST).commit(FINAL).close_truth()
    return session


def test_a_case_takes_a_first_and_a_final_answer():
    session = Session(STUDY)
    assert (session.number, session.phase) == (0, "first")
    session = session.commit(FIRST)
    assert (session.number, session.phase) == (0, "final")
    session = session.commit(FINAL)
    assert (session.number, session.phase) == (1, "first")
    assert session.answers == ((FIRST, FINAL),)


def test_training_displays_the_truth_after_each_case():
    session = Session(STUDY, training=True).commit(FIRST).commit(FINAL)
    assert (session.number, session.phase) == (0, "truth")
    assert (session.close_truth().number, session.close_truth().phase) == (1, "first")
    assert finished(training=True).phase == "done"


def test_no_answer_is_taken_where_none_is_asked_for():
    for session in (finished(), Session(STUDY, training=True).commit(FIRST).commit(FINAL)):
        with pytest.raises(MedvitError, match="No answer"):
            session.commit(FIRST)


def test_a_session_is_kept_as_json_at_every_point():
    session = Session(STUDY, "anna", training=True)
    sessions = [session, session.commit(FIRST), session.commit(FIRST).commit(FINAL), finished()]
    for kept in sessions:
        assert Session.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept


def changed(**values):
    return finished().to_dict() | values


@pytest.mark.parametrize(
    "content",
    ["text", 3, [], {}, True, {"version": 1}, changed(version=2), changed(reader=7),
     changed(reader="x" * 999),
     changed(training="yes"), changed(answers=[[1, 2]]), changed(answers=5), changed(answers=[None]),
     changed(answers=finished().to_dict()["answers"] * 2), changed(study={}), changed(study="x"),
     changed(first={"answer": 1, "confidence": 1, "seconds": 1}), changed(first=[]),
     changed(answers=[[{"answer": 1e400, "confidence": 1, "seconds": 1}] * 2]),
     changed(answers=[[{"answer": -1, "confidence": 1, "seconds": 1}] * 2]),
     changed(answers=[[{"answer": 0, "confidence": float("nan"), "seconds": 1}] * 2]),
     changed(answers=[[{"answer": 0, "confidence": 2, "seconds": 1}] * 2]),
     changed(answers=[[{"answer": 0, "confidence": 1, "seconds": -1}] * 2]),
     changed(study=STUDY.__dict__ | {"cases": [{"index": 0, "condition": "x"}]}),
     changed(study=STUDY.__dict__ | {"cases": [{"index": -1, "condition": "none"}]}),
     changed(study=STUDY.__dict__ | {"cases": [{"index": 0, "condition": "none"}] * 5000}),
     changed(answers=[], truth_open=True)],
)  # fmt: skip
def test_a_damaged_session_is_refused_in_one_sentence(content):
    with pytest.raises(MedvitError, match="The study that this browser keeps"):
        Session.from_dict(content)


def test_a_time_beyond_a_day_counts_as_a_day():
    assert Judgement.parse(1, 0.5, float("inf")).seconds == 86_400


def test_rows_have_truth_advice_and_answers_of_each_finished_case():
    rows = finished(reader="anna").rows(ADVICE)
    assert [row.case for row in rows] == [1, 2, 3, 4]
    for row, case in zip(rows, STUDY.cases, strict=True):
        assert (row.reader, row.study, row.index) == ("anna", STUDY.code, case.index)
        assert (row.condition, row.truth) == (case.condition, "abc"[LABELS[case.index]])
        assert row.model_correct == (case.index != 3)
        assert row.advice_probability == pytest.approx(0.8)
        assert (row.first_answer, row.final_answer, row.seconds_first) == ("a", "b", 3.0)


def test_a_study_of_another_dataset_is_refused():
    with pytest.raises(MedvitError, match="does not fit"):
        finished().rows(Advice(("a", "b", "c"), LABELS[:2], PROBS[:2], None, 0.95))
    with pytest.raises(MedvitError, match="does not fit"):
        finished().rows(Advice(("a",), LABELS * 0, PROBS[:, :1], None, 0.95))


@pytest.mark.parametrize(("classes", "steps"), [(2, 11), (5, 5), (8, 5)])
def test_confidence_goes_from_chance_to_certainty(classes, steps):
    offered = confidence_steps(classes)
    assert len(offered) == steps
    assert (offered[0], offered[-1]) == (1 / classes, 1)
