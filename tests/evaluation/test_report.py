import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from medvit import checkpoint
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation import report
from tests.conftest import SHIPPED


@pytest.fixture(scope="module")
def tested(trained):
    return checkpoint.load(trained / "breastmnist" / "spt_lsa")


def test_recomputed_metrics_are_those_of_the_card(tested, synthetic_root):
    logits, test, features = report.recompute(tested, synthetic_root)
    np.testing.assert_array_equal(logits.argmax(1), tested.test_logits.argmax(1))
    assert test["accuracy"] == tested.card["test"]["accuracy"]
    assert len(features) == len(logits)


def test_other_images_are_refused(tested, synthetic_root, tmp_path):
    path = shutil.copy(medmnist.archive_path("breastmnist", root=synthetic_root), tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"test_labels": 1 - arrays["test_labels"]})
    with pytest.raises(MedvitError, match="the labels differ"):
        report.recompute(tested, tmp_path)


def test_a_row_takes_the_place_of_the_older_one_of_the_same_checkpoint(tested, tmp_path):
    row = report.csv_row(tested, tested.card["test"])
    other = row | {"model": "cnn"}
    report.update_csv(tmp_path / "out" / "metrics.csv", [row, other])
    report.update_csv(tmp_path / "out" / "metrics.csv", [row | {"accuracy": 0.123}])
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.COLUMNS
    assert [(line["model"], line["accuracy"]) for line in rows] == [
        ("cnn", f"{row['accuracy']:.4f}"), ("spt_lsa", "0.1230")
    ]  # fmt: skip


def test_the_page_loads_nothing_and_escapes_names(tested, tmp_path):
    dataset = replace(tested.dataset, title="<b>bold</b>", classes=("<i>malignant</i>", "benign"))
    changed = replace(tested)
    vars(changed)["dataset"] = dataset
    page = report.write_html(changed, tested.test_logits, tested.test_labels, tmp_path / "pages").read_text()
    assert "Confusion matrix" in page
    assert "malignant" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<script src" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; · SPT-LSA ViT" in page
    assert "Official test split, 16 images" in page


def test_the_results_table_rounds_the_cards_once():
    table = report.results_table(SHIPPED)
    lines = table.splitlines()
    assert len(lines) == 2 + len(medmnist.MAIN)
    assert lines[0].startswith("| | CNN")
    for tested in SHIPPED:
        (line,) = (line for line in lines if line.startswith(f"| {tested.dataset.title} |"))
        low, high = tested.card["test"]["accuracy_interval"]
        accuracy = tested.card["test"]["accuracy"]
        assert f"{100 * accuracy:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in line


def test_the_mean_over_seeds_stands_before_the_shipped_seed(tested):
    seeds = [{"test_accuracy": value} for value in (0.80, 0.82, 0.84)]
    several = replace(tested, card=tested.card | {"seeds": seeds})
    assert "| **82.0 ± 2.0**, 3 seeds; shipped " in report.results_table([several])
    assert "| one seed: " in report.results_table([replace(tested, card=tested.card | {"seeds": []})])


def test_checkpoints_with_too_little_coverage_are_named():
    first, second = SHIPPED[:2]
    below, enough = {"coverage": 0.85, "below_expected": True}, {"coverage": 0.96, "below_expected": False}
    sets = {"default_level": 0.95, "levels": {"0.99": below, "0.95": enough, "0.90": below}}
    low = replace(first, card=first.card | {"trust": {"prediction_sets": sets}})
    assert report.below_expected_coverage([low]) == [
        (first.dataset.title, first.title, level, 0.85) for level in (0.9, 0.99)
    ]
    sets = {"default_level": 0.9, "levels": {"0.90": {"coverage": 0.89, "below_expected": False}}}
    enough = replace(second, card=second.card | {"trust": {"prediction_sets": sets}})
    assert report.below_expected_coverage([enough, replace(second, card={})]) == []
