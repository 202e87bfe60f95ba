"""The advice of a model, from test.npz or about drawings."""

import numpy as np
import pytest

from medvit.checkpoint import DEFAULT_ROOT
from medvit.inference import predictor
from medvit.reader_study.advice import DRAWINGS, RIGHT_IN_PRACTICE, of_drawings, of_test_split


@pytest.fixture(scope="module")
def model():
    return predictor.load("breastmnist", "cnn", DEFAULT_ROOT)


def test_the_advice_on_the_test_split_is_what_the_card_says(model):
    advice = of_test_split(model.checkpoint)
    accuracy = (advice.predicted == advice.labels).mean()
    assert accuracy == pytest.approx(model.checkpoint.card["test"]["accuracy"], abs=1e-6)
    assert advice.probs.sum(1) == pytest.approx(1, abs=1e-5)


def test_a_prediction_set_holds_the_answer_first(model):
    advice = of_test_split(model.checkpoint)
    for index in range(20):
        members = advice.prediction_set(index)
        assert members[0] == advice.predicted[index]
        assert sorted(members) == np.flatnonzero(advice.sets[index]).tolist()


def test_in_practice_the_model_is_right_about_a_stated_fraction(model):
    advice = of_drawings(model)
    assert len(advice.labels) == DRAWINGS
    assert (advice.predicted == advice.labels).mean() == pytest.approx(RIGHT_IN_PRACTICE)
    assert set(advice.labels) <= {0, 1}
