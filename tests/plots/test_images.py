"""Enlarged source images, heatmaps over them, and their data: URLs."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from medvit import plots


def test_an_enlarged_image_has_sharp_pixels():
    source = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    enlarged = np.asarray(plots.enlarge(source))
    assert enlarged.shape == (336, 336, 3)
    np.testing.assert_array_equal(enlarged, source.repeat(12, 0).repeat(12, 1))
    assert plots.enlarge(source[:14]).size == (336, 168)


def test_a_signed_heatmap_is_grey_at_zero_blue_below_and_red_above():
    values = np.array([[-1.0, -1, 0, 0, 1, 1]] * 6, np.float32)
    image = np.asarray(plots.overlay(np.zeros((28, 28, 3), np.uint8), values, opacity=1.0)).astype(int)
    blue, grey, red = image[168, 10], image[168, 168], image[168, -10]
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60
    assert np.ptp(grey) < 12


def test_without_opacity_the_image_stays_as_it_is():
    source = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    result = plots.overlay(source, np.eye(7, dtype=np.float32), opacity=0.0)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(plots.enlarge(source)))


def test_an_unsigned_heatmap_goes_from_dark_to_bright():
    lightness = [np.asarray(plots.apply_colormap(np.full((2, 2), v))).mean() for v in (0.0, 0.5, 1.0)]
    assert lightness[0] < 5 < lightness[1] < lightness[2]


@pytest.mark.parametrize("as_array", [True, False])
def test_a_data_url_holds_the_image(as_array):
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    prefix, content = plots.data_url(image if as_array else Image.fromarray(image)).split(",")
    assert prefix == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), image)


def test_an_overlay_by_value_leaves_the_image_visible_where_the_map_is_low():
    source = np.full((28, 28, 3), 200, np.uint8)
    values = np.zeros((7, 7), np.float32)
    values[3, 3] = 1
    result = np.asarray(plots.overlay(source, values, opacity=1.0, by_value=True))
    assert (result[:40, :40] == 200).all()
    assert (result[168, 168] != 200).any()
