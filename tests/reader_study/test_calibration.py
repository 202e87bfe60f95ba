"""The points of a reliability diagram, against a table counted by hand."""

import pytest

from medvit.evaluation.metrics import wilson
from medvit.reader_study.calibration import calibration_points


def test_few_levels_are_points_of_their_own():
    points = calibration_points([0.5, 0.5, 1.0, 1.0, 1.0], [True, False, True, True, False])
    assert [point["confidence"] for point in points] == [0.5, 1.0]
    assert [(point["count"], point["n"]) for point in points] == [(1, 2), (2, 3)]
    assert points[1]["interval"] == wilson(2, 3)


def test_many_levels_are_grouped_by_tenths():
    levels = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    points = calibration_points(levels, [True] * 11)
    assert [point["n"] for point in points] == [2, 2, 2, 2, 3]
    assert [point["confidence"] for point in points] == pytest.approx([0.525, 0.625, 0.725, 0.825, 0.95])
