"""ROC, precision-recall, insertion-deletion and learning curves."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from medvit import plots

LABELS = np.array([0, 1, 2] * 20)
SCORES = np.random.default_rng(0).dirichlet([1, 1, 1], 60) + 0.3 * np.eye(3)[LABELS]


@pytest.mark.parametrize("plot", [plots.roc_curves, plots.precision_recall_curves])
def test_curves_have_one_line_for_each_class_and_their_mean(plot):
    names = [trace.name for trace in plot(LABELS, SCORES, ("a", "b", "c")).data if trace.name]
    assert len(names) == 4
    assert names[-1].startswith("mean")


@pytest.mark.parametrize("plot", [plots.roc_curves, plots.precision_recall_curves])
def test_a_class_without_images_has_no_line(plot):
    scores = np.column_stack([SCORES, np.zeros(60)])
    names = [trace.name for trace in plot(LABELS, scores, ("a", "b", "c", "absent")).data if trace.name]
    assert len(names) == 4
    assert not [trace for trace in plot(np.zeros(3, int), np.ones((3, 1)), ("a",)).data if trace.name]


def test_the_legend_of_roc_curves_gives_the_auc():
    names = [trace.name for trace in plots.roc_curves(LABELS, SCORES, ("a", "b", "c")).data if trace.name]
    areas = [roc_auc_score(LABELS == i, SCORES[:, i]) for i in range(3)]
    expected = [f"{name} · {area:.3f}" for name, area in zip("abc", areas, strict=True)]
    assert names == [*expected, f"mean · {np.mean(areas):.3f}"]


def test_points_are_left_out_where_it_makes_no_visible_difference():
    rng = np.random.default_rng(0)
    labels, score = rng.integers(0, 2, 20_000), rng.random(20_000)
    trace = plots.roc_curves(labels, np.stack([1 - score, score], 1), ("no", "yes")).data[1]
    assert len(trace.x) < 3000
    fpr, tpr, _ = roc_curve(labels, score)
    assert np.abs(np.interp(fpr, trace.x, trace.y) - tpr).max() < 0.005


def test_the_operating_point_lies_on_the_roc_curve():
    positive, score = LABELS == 0, SCORES[:, 0]
    *_, curve, point = plots.operating_point(score, positive, 0.5, "malignant").data
    predicted = score >= 0.5
    assert point.x == pytest.approx([predicted[~positive].mean()])
    assert point.y == pytest.approx([predicted[positive].mean()])
    assert np.hypot(curve.x - point.x[0], curve.y - point.y[0]).min() < 0.03


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
