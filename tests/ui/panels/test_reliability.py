"""The panel "How far to trust it"."""

import re
from types import SimpleNamespace

import pytest

from medvit.checkpoint import DEFAULT_ROOT, load
from medvit.ui.panels import reliability


@pytest.fixture(scope="module")
def checkpoints():
    return [load(DEFAULT_ROOT / "pneumoniamnist" / name) for name in ("cnn", "vit", "spt_lsa")]


@pytest.mark.parametrize(("index", "calibrated"), [(0, False), (1, True)])
def test_the_diagram_compares_before_and_after_calibration(checkpoints, index, calibrated):
    """Validation has too few errors to calibrate the first, the CNN."""
    diagram = reliability.reliability_diagram(checkpoints[index])
    names = [trace.name for trace in diagram.data if trace.name]
    assert names == (["uncalibrated", "calibrated"] if calibrated else ["uncalibrated"])
    note = reliability.calibration_table(checkpoints[index].card["trust"]).note
    assert ("too few images or errors to calibrate" in note) != calibrated


def test_the_tables_hold_the_metrics_of_the_card(checkpoints):
    card = checkpoints[1].card["trust"]
    calibration = reliability.calibration_table(card)
    assert calibration.rows[0][1] == f"{card['before']['ece']:.3f}"
    assert calibration.rows[-1][0].startswith("test-time augmentation")
    titles = [table.title for table in reliability.tables(checkpoints[1], [checkpoints[0]])]
    assert titles == ["Out-of-distribution detection", "Prediction sets", "Compared with the other models"]


def test_every_shipped_model_with_too_little_coverage_says_so():
    for folder in sorted(DEFAULT_ROOT.glob("*/*/card.json")):
        sets = load(folder.parent).card.get("trust", {}).get("prediction_sets")
        if sets:
            metrics = sets["levels"][f"{sets['default_level']:.2f}"]
            note = reliability.prediction_sets_table(sets).note
            assert metrics["coverage"] >= metrics["expected"][0] or "below the expected range" in note, folder


def test_a_model_is_compared_with_each_other_model_on_the_same_images(checkpoints):
    table = reliability.other_models_table(checkpoints[0], checkpoints[1:])
    assert [row[0] for row in table.rows] == [checkpoint.title for checkpoint in checkpoints[1:]]
    correct = [checkpoint.test_logits.argmax(1) == checkpoint.test_labels for checkpoint in checkpoints]
    assert table.rows[0][1:3] == (
        f"{(correct[0] & ~correct[1]).sum():,}",
        f"{(correct[1] & ~correct[0]).sum():,}",
    )


def test_a_model_without_reliability_says_why(checkpoints):
    bare = SimpleNamespace(
        card={}, trust=None, trust_problem="Fit it first.", dataset=checkpoints[0].dataset, folder="cnn"
    )
    assert "Fit it first." in reliability.calibration_html(bare)
    assert reliability.tables(bare, []) == []


def test_near_ood_images_are_marked(checkpoints):
    table = reliability.ood_table(checkpoints[0].card["trust"], checkpoints[0])
    assert re.match("test images of PneumoniaMNIST", table.rows[0][0])
    assert any(row[0].endswith("(near-OOD)") for row in table.rows)
