"""Reliability diagram, and errors under corruptions."""

import numpy as np
import pytest

from medvit import plots


def test_a_calibrated_model_lies_on_the_diagonal_within_its_intervals():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 3000)
    correct = rng.random(3000) < confidence
    _, trace = plots.reliability_diagram({"calibrated": (confidence, correct)}, bins=10).data
    assert len(trace.x) == 10
    assert np.abs(trace.x - trace.y).max() < 0.1
    low, high = trace.customdata[:, 1], trace.customdata[:, 2]
    assert ((low <= trace.y) & (trace.y <= high)).all()
    assert ((low < trace.x) & (trace.x < high)).mean() >= 0.8


def test_few_images_get_few_bins():
    confidence, correct = np.linspace(0.5, 1, 60), np.arange(60) % 3 > 0
    _, trace = plots.reliability_diagram({"model": (confidence, correct)}).data
    assert [int(count) for count in trace.customdata[:, 0]] == [30, 30]


def test_the_worst_corruption_is_on_top():
    bars = plots.corruption_errors({"jpeg": [0.5] * 5, "motion_blur": [0.2] * 5}, clean=0.1).data[0]
    assert bars.y == ("motion blur", "jpeg")
    assert bars.x == pytest.approx((0.2, 0.5))
