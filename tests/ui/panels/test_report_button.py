"""The button that saves the prediction report."""

from datetime import UTC, datetime

import pytest

from medvit.errors import MedvitError
from medvit.ui.panels import report_button

NOW = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("model", ["cnn", "spt_lsa"])
def test_the_report_is_about_the_displayed_answer(registry, answer_of, model):
    name, page = report_button.report(registry, answer_of("breastmnist", model), 0.95, NOW)
    assert name == f"medvit-breastmnist-{model}-20310203-040500.html"
    assert ("Rollout." in page) == (model == "spt_lsa")
    assert "ynthetic example 0" in page
    assert "95% prediction set" in page


def test_without_an_answer_there_is_nothing_to_report(registry):
    with pytest.raises(MedvitError, match="nothing to report"):
        report_button.report(registry, None, None, NOW)
