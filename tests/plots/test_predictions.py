"""Confusion matrix, and counts of predicted labels."""

import numpy as np

from medvit import plots


def test_a_confusion_matrix_is_coloured_by_the_fraction_of_its_row():
    (heatmap,) = plots.confusion_matrix(np.array([[5, 0], [1, 3]]), ("a", "b")).data
    assert heatmap.z.tolist() == [[1, 0], [0.25, 0.75]]
    assert heatmap.customdata.tolist() == [[5, 0], [1, 3]]


def test_labels_are_counted_by_probability():
    predictions = [("cat", 0.95), ("cat", 0.6), ("dog", 0.6), ("cat", 0.2), ("cat", 1.0)]
    bars = {bar.name: dict(zip(bar.y, bar.x, strict=True)) for bar in plots.label_counts(predictions).data}
    assert bars == {
        "90 % and more": {"cat": 2, "dog": 0},
        "50 to 90 %": {"cat": 1, "dog": 1},
        "below 50 %": {"cat": 1, "dog": 0},
    }


def test_an_empty_row_has_fraction_zero():
    assert plots.confusion_matrix(np.zeros((2, 2), int), ("a", "b")).data[0].z.tolist() == [[0, 0], [0, 0]]
