import re

import pytest

from medvit import checkpoint
from medvit.evaluation.model_card import ModelCard, coverage_sentences, markdown
from tests.conftest import SHIPPED

FRONT_MATTER = re.compile(r"^---\n(.*?)\n---\n", re.DOTALL)


def test_the_card_has_every_section(trained):
    text = markdown(checkpoint.load(trained / "breastmnist" / "spt_lsa"))
    for part in (
        "Intended use", "Out of scope", "Reference standard", "md5", "## Training", "## Calibration",
        "## Prediction sets", "## Failures", "## Limits", "Wilson's for accuracy", "DeLong's",
    ):  # fmt: skip
        assert part in text
    assert "breastmnist" in FRONT_MATTER.match(text)[1]
    assert "\n\n\n" not in text


@pytest.mark.parametrize("tested", SHIPPED, ids=lambda c: f"{c.dataset.name}-{c.model_name}")
def test_the_card_has_the_metrics_and_true_failures(tested):
    text, test = markdown(tested), tested.card["test"]
    low, high = test["accuracy_interval"]
    assert f"| accuracy | {test['accuracy']:.3f} | {low:.3f} to {high:.3f} |" in text
    failures = ModelCard.of(tested).failures
    assert failures
    for index, truth, predicted, _ in failures:
        assert truth == tested.dataset.classes[tested.test_labels[int(index)]]
        assert predicted == tested.dataset.classes[tested.test_logits[int(index)].argmax()] != truth


def test_several_seeds_are_summarised_and_one_is_not(trained):
    tested = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    assert (ModelCard.of(tested).seeds, ModelCard.of(tested).seed_runs) == ("", [])
    assert "| seed |" not in markdown(tested)
    seeds = [
        {"seed": i, "validation_loss": 0.25, "test_accuracy": accuracy, "test_auc": 0.75}
        for i, accuracy in enumerate((0.5, 0.6))
    ]
    tested.card["seeds"] = seeds
    assert "0.500, 0.600; mean 0.550, standard deviation 0.071." in ModelCard.of(tested).seeds
    assert "| 1 | 0.250 |  | 0.600 | 0.750 |\n" in markdown(tested)


def test_what_a_continued_model_was_trained_on_is_that_of_its_last_stage(trained):
    tested = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    assert "last stage" not in markdown(tested)
    tested.card["start"] = {"subset": "breastmnist", "recipe": {"epochs": 6}}
    tested.card["recipe"]["epochs"] = 1
    text = markdown(tested)
    assert "training images of BreastMNIST in the last stage.\n" in text
    assert "\n1 epoch in the last stage, batch size" in text


def test_a_card_without_a_backbone_is_of_a_model_that_has_none(trained):
    tested = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    before = markdown(tested)
    assert tested.card.pop("backbone") is None
    assert markdown(tested) == before


def test_the_card_has_the_command_that_makes_the_model_again(trained):
    tested = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    tested.card["command"] = "medvit train --subset breastmnist\n```\n![](https://elsewhere)"
    assert "```bash\nmedvit train --subset breastmnist ``` !\\[](https://elsewhere)\n```\n" in markdown(
        tested
    )
    del tested.card["command"]
    assert "```bash" not in markdown(tested)
    assert "no single run" in ModelCard.of(tested).facts["Command"]


def test_coverage_below_the_expected_range_is_stated():
    level = {
        "possible": True, "coverage": 0.92, "coverage_interval": [0.90, 0.94], "mean_size": 1.1,
        "expected": [0.94, 0.96], "below_expected": True,
    }  # fmt: skip
    section = {"default_level": 0.95, "fitted_on": 300, "levels": {"0.95": level}}
    assert "below the expected range at 95%" in coverage_sentences(section)
    section["levels"]["0.95"] = level | {"below_expected": False}
    assert "below" not in coverage_sentences(section)
    section["levels"]["0.95"] = level | {"possible": False}
    assert "300 validation images are too few" in coverage_sentences(section)
    assert coverage_sentences(None) == ""
