"""The cases of a reader study."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from medvit.errors import MedvitError
from medvit.reader_study import CONDITIONS, Study, make_study

RNG = np.random.default_rng(0)
LABELS = RNG.choice(3, 400, p=(0.7, 0.2, 0.1))
PREDICTED = np.where(RNG.random(400) < 0.8, LABELS, (LABELS + 1) % 3)
WRONG = PREDICTED != LABELS


def study(**options):
    return make_study("bloodmnist", "cnn", LABELS, PREDICTED, **options)


def indices(made):
    return np.array([case.index for case in made.cases])


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("wrong_fraction", [None, 0.0, 0.5])
def test_a_study_has_distinct_cases_and_the_same_ones_for_every_reader(balanced, wrong_fraction):
    options = dict(cases=30, balanced=balanced, wrong_fraction=wrong_fraction, seed=3)
    made = study(**options)
    assert len(set(indices(made))) == 30
    assert made == study(**options)
    assert made.code != study(**options | {"seed": 4}).code
    if wrong_fraction is not None:
        assert WRONG[indices(made)].sum() == 30 * wrong_fraction
    if balanced:
        assert set(Counter(LABELS[indices(made)].tolist()).values()) == {10}


def test_natural_cases_occur_as_in_the_test_split():
    made = study(cases=300)
    assert np.bincount(LABELS[indices(made)]) / 300 == pytest.approx(np.bincount(LABELS) / 400, abs=0.05)


def test_conditions_are_balanced_where_the_model_is_right_and_where_it_is_wrong():
    made = study(cases=60, conditions=tuple(CONDITIONS), wrong_fraction=0.4)
    assert set(Counter(case.condition for case in made.cases).values()) == {15}
    wrong = Counter(case.condition for case in made.cases if WRONG[case.index])
    assert set(wrong.values()) == {6}


@pytest.mark.parametrize("seed", range(20))
def test_blocks_end_where_the_model_is_no_longer_wrong(seed):
    made = study(cases=50, conditions=tuple(CONDITIONS), wrong_fraction=0.5, seed=seed)
    for wrong in (True, False):
        counts = Counter(case.condition for case in made.cases if WRONG[case.index] == wrong)
        assert sorted(counts.values()) == [6, 6, 6, 7]


def test_a_study_is_kept_as_json():
    made = study(cases=10, conditions=("none", "set"), wrong_fraction=0.3, checkpoint="abc")
    assert Study.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"version": 1}', "[" * 100_000, "\x00", b"\xff\xfe",
     study(cases=3).to_json().replace('"seed": 0', '"seed": 1'),
     study(cases=3).to_json().replace('"answer"', '"nonsense"'),
     study(cases=3).to_json().replace('"version": 1', '"version": 2')],
)  # fmt: skip
def test_another_or_a_changed_json_is_refused_in_one_sentence(text):
    with pytest.raises(MedvitError, match="study.json"):
        Study.from_json(text)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"cases": 0}, "1 to 400"), ({"cases": 401}, "1 to 400"), ({"conditions": ()}, "conditions"),
     ({"conditions": ("answer", "answer")}, "conditions"), ({"conditions": ("x",)}, "conditions"),
     ({"wrong_fraction": 1.5}, "between 0 and 1"), ({"wrong_fraction": float("nan")}, "between 0 and 1"),
     ({"cases": 200, "wrong_fraction": 1.0}, "too few"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_an_impossible_study_is_refused_in_one_sentence(options, reason):
    with pytest.raises(MedvitError, match=reason):
        study(**options)


def test_the_method_of_the_heatmaps_is_kept_where_a_condition_shows_them():
    assert study(cases=4, conditions=("heatmap", "none"), method="relevance").method == "relevance"
    assert study(cases=4, conditions=("answer",), method="relevance").method == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("seed", 2**40), ("seed", True), ("dataset", ["x"]), ("model", "x" * 200), ("balanced", 1),
     ("wrong_fraction", float("nan")), ("wrong_fraction", "0"), ("cases", []), ("cases", {}), ("method", 1)],
)  # fmt: skip
def test_content_out_of_its_range_is_no_study(name, value):
    content = asdict(study(cases=3)) | {"cases": [{"index": 0, "condition": "none"}]}
    assert Study.from_dict(content).cases[0].index == 0
    with pytest.raises((ValueError, TypeError)):
        Study.from_dict(content | {name: value})


def test_several_labels_are_refused():
    with pytest.raises(MedvitError, match="one label"):
        make_study("chestmnist", "cnn", np.zeros((5, 14)), np.zeros((5, 14)))
