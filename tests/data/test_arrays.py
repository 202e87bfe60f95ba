"""Functions on the images and labels of a split."""

import numpy as np
import pytest
from PIL import Image

from medvit.data import as_rgb, class_counts, short_name, stratified_sample


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3), dtype=np.uint8)


def test_grey_images_get_three_equal_channels(rgb):
    for grey in (rgb[..., 0], rgb[0, ..., 0]):
        result = as_rgb(grey)
        assert result.shape == (*grey.shape, 3)
        assert (result == grey[..., None]).all()


def test_rgb_images_stay_as_they_are_or_are_reduced_to_pillows_luminance(rgb):
    np.testing.assert_array_equal(as_rgb(rgb), rgb)
    for image in rgb:
        expected = np.asarray(Image.fromarray(image).convert("L").convert("RGB"))
        np.testing.assert_array_equal(as_rgb(image, grey=True), expected)
    np.testing.assert_array_equal(as_rgb(rgb, grey=True)[3], as_rgb(rgb[3], grey=True))


def test_classes_are_counted_in_class_indices_and_in_multi_label_arrays():
    assert class_counts(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]
    assert class_counts(np.array([[1, 0], [1, 1]]), 2).tolist() == [2, 1]


def test_a_stratified_sample_keeps_class_frequencies_and_order():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 300, 200]))
    sample = stratified_sample(labels, 100)
    assert np.bincount(labels[sample]).tolist() == [50, 30, 20]
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(stratified_sample(labels, 100), sample)
    assert not np.array_equal(stratified_sample(labels, 100, seed=1), sample)
    np.testing.assert_array_equal(stratified_sample(labels, 1000), np.arange(1000))


@pytest.mark.parametrize("count", [1, 999])
def test_where_a_class_has_too_few_images_a_sample_is_random(count):
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    assert len(stratified_sample(labels, count)) == count
    assert len(stratified_sample(np.eye(1000, 3, dtype=int), count)) == count


def test_short_names_have_no_brackets_and_bare_numbers_are_grades():
    assert short_name("immature granulocytes(myelocytes, metamyelocytes)") == "immature granulocytes"
    assert short_name("3") == "grade 3"
