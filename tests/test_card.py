import json

import pytest

from medvit import card
from medvit.errors import MedvitError


@pytest.fixture
def content(trained):
    return json.loads((trained / "breastmnist" / "spt_lsa" / "card.json").read_text())


def test_a_card_that_training_wrote_is_valid(content):
    card.check(content)
    card.check(content | {"a field of a later version": 1})
    del content["config_sha256"], content["trust"], content["seeds"]
    card.check(content)


def test_metrics_may_be_undefined(content):
    content["test"]["auc"] = float("nan")
    card.check(content)


def test_the_first_field_that_is_wrong_is_named(content):
    content["test"]["accuracy"] = "high"
    with pytest.raises(MedvitError, match=r"'test\.accuracy'"):
        card.check(content)
    with pytest.raises(MedvitError):
        card.check([])
