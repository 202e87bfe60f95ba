"""The embedding of a test split."""

import base64

import numpy as np

from medvit.ui.components.embedding_plot import points


def test_points_are_packed_without_visible_loss():
    embedding = np.array([[-1, 1], [0.25, 0.5]], np.float16)
    first = np.array([True, False])
    value = points(embedding, first, ~first, first, np.array([0.5, 0.123]), ("x", "y"))
    positions = np.frombuffer(base64.b64decode(value["positions"]), "<i2").reshape(-1, 2) / 32767
    np.testing.assert_allclose(positions, embedding, atol=1e-4)
    assert list(base64.b64decode(value["truth"])) == [1, 0]
