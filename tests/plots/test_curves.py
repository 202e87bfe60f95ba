"""ROC, precision-recall, insertion-deletion and learning curves."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from medvit import plots

CURVES = {
    "a": (np.array([0, 0.2, 1]), np.array([0, 0.8, 1]), 0.8),
    "grade (b)": (np.array([0, 0.5, 1]), np.array([0, 0.5, 1]), 0.5),
}


@pytest.mark.parametrize("plot", [plots.roc_curves, plots.precision_recall_curves])
def test_each_class_has_a_line_with_its_area_and_there_is_their_mean(plot):
    names = [trace.name for trace in plot(CURVES).data if trace.name]
    assert names == ["a · 0.800", "grade · 0.500", "mean · 0.650"]
    assert not [trace for trace in plot({}).data if trace.name]


@pytest.mark.parametrize("plot", [plots.roc_curves, plots.precision_recall_curves])
def test_of_very_many_classes_the_lowest_curves_are_drawn_and_the_mean_is_of_all(plot):
    x = np.array([0.0, 1.0])
    figure = plot({f"class {i}": (x, x, i / 1000) for i in range(1000)})
    names = [trace.name for trace in figure.data if trace.name]
    assert names[:2] == ["class 0 · 0.000", "class 1 · 0.001"]
    assert len(names) == 25 and names[-1] == "mean · 0.499"  # (0 + 999) / 2 thousandths
    assert "lowest 24 of 1,000" in figure.layout.legend.title.text


def test_points_are_left_out_where_it_makes_no_visible_difference():
    rng = np.random.default_rng(0)
    fpr, tpr, _ = roc_curve(rng.integers(0, 2, 20_000), rng.random(20_000))
    trace = plots.roc_curves({"yes": (fpr, tpr, 0.5)}).data[0]
    assert len(trace.x) < 3000
    assert np.abs(np.interp(fpr, trace.x, trace.y) - tpr).max() < 0.005


def test_the_operating_point_lies_on_the_roc_curve():
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.4
    score = (positive + rng.random(500)) / 2
    *_, curve, point = plots.operating_point(score, positive, 0.5, "malignant").data
    predicted = score >= 0.5
    assert point.x == pytest.approx([predicted[~positive].mean()])
    assert point.y == pytest.approx([predicted[positive].mean()])
    assert np.hypot(curve.x - point.x[0], curve.y - point.y[0]).min() < 0.01


def test_insertion_and_deletion_are_plotted_with_their_areas():
    fraction = np.linspace(0, 1, 5)
    figure = plots.insertion_deletion_curves(fraction, 1 - fraction, fraction**0, fraction, fraction * 0)
    names = [trace.name for trace in figure.data]
    assert names == ["deletion 0.50", "insertion 1.00", "random order 0.50", "random order 0.00"]


def test_a_learning_curve_may_lack_values():
    history = [{"epoch": 0, "train_loss": 1.0}, {"epoch": 1, "train_loss": 0.5, "val_loss": 0.7}]
    loss, val_loss, accuracy = plots.learning_curve(history).data
    assert list(loss.y) == [1.0, 0.5]
    assert list(val_loss.y) == [None, 0.7]
    assert list(accuracy.y) == [None, None]
