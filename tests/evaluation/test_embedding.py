import numpy as np
import pytest

from medvit.evaluation.embedding import tsne, unit


def test_the_embedding_keeps_groups_together_and_is_deterministic():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 20)
    features = 5 * np.eye(16)[groups] + rng.normal(0, 0.3, (60, 16))
    plane = tsne(features)
    assert plane.dtype == np.float16
    assert np.abs(plane).max() == pytest.approx(1, abs=1e-3)
    distances = np.linalg.norm(plane[:, None].astype(float) - plane[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(1)] == groups).all()
    np.testing.assert_array_equal(plane, tsne(features))


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_a_handful_of_images_has_an_embedding_too(count):
    plane = tsne(np.random.default_rng(0).normal(size=(count, 8)))
    assert plane.shape == (count, 2)
    assert np.isfinite(plane).all()


def test_unit_vectors_have_length_one_and_zero_stays():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])
