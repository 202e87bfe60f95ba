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
    assert np.frombuffer(base64.b64decode(value["truth"]), "<u2").tolist() == [1, 0]


def test_there_may_be_more_classes_than_a_byte_holds():
    labels, probs = np.arange(300), np.ones(300)
    classes = tuple(map(str, labels))
    value = points(np.zeros((300, 2)), labels, labels[::-1], probs > 0, probs, classes)
    for key, expected in (("truth", labels), ("predicted", labels[::-1])):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(value[key]), "<u2"), expected)
