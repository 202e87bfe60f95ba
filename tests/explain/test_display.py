import warnings

import numpy as np
import pytest
import torch

from medvit.explain import describe, scale
from medvit.explain.display import to_picture


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [(0, 0, "upper left"), (6, 6, "lower right"), (3, 3, "centre"), (3, 6, "right part")],
)
def test_a_map_is_described_by_where_its_mass_lies(row, column, words):
    values = np.zeros((7, 7))
    values[row, column] = 1
    assert words in describe(values)
    assert "2% of the image" in describe(values)
    assert "flat" in describe(np.zeros((7, 7)))


def test_a_map_of_one_row_is_described_by_its_columns():
    values = np.array([[0.0, 0, 0, 0, 0, 1]])
    with warnings.catch_warnings(action="error"):
        assert describe(values) == (
            "The weight of the map lies in the right part; half of it falls on 17% of the image."
        )


def test_scaling_keeps_the_sign_where_it_means_something():
    values = np.array([[-1.0, 0.0], [0.5, 2.0]])
    np.testing.assert_allclose(scale(values), [[0, 1 / 3], [0.5, 1]])
    np.testing.assert_allclose(scale(values, signed=True), [[-0.5, 0], [0.25, 1]])


def test_pixels_are_rounded_and_other_ranges_are_scaled_to_a_picture():
    pixels = torch.tensor([0.4, 254.6, 255.0]).view(3, 1, 1)
    assert to_picture(pixels).tolist() == [[[0, 255, 255]]]
    picture = to_picture(torch.linspace(-500, 500, 12).view(3, 2, 2))
    assert (picture.min(), picture.max()) == (0, 255)
