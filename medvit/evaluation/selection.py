"""Which test images stand behind a number: pure functions of logits and labels, most confident first."""

import numpy as np


def in_cell(scores: np.ndarray, labels: np.ndarray, row: int, column: int) -> np.ndarray:
    """Indices of the images of class `row` that are given class `column`, most confident first.

    Args:
        scores: probabilities (N, C). labels: (N,) class indices.
    """
    return _by(scores[:, column], (labels == row) & (scores.argmax(1) == column))


def in_one_cell_only(
    scores: np.ndarray, others: np.ndarray, labels: np.ndarray, row: int, column: int
) -> np.ndarray:
    """Indices of the images of class `row` that exactly one of two models gives class `column`.

    Args:
        scores, others: probabilities (N, C) of the two models, whose greater one sorts.
    """
    chosen = (scores.argmax(1) == column) ^ (others.argmax(1) == column)
    return _by(np.maximum(scores, others)[:, column], (labels == row) & chosen)


def mistakes(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of the images given a wrong class, most confident first.

    For labels (N, C) of 0 and 1 the confidence is that of the worst wrong label, p or 1 - p.
    """
    if labels.ndim == 2:
        off = np.abs(scores - labels).max(1)
        return _by(off, off > 0.5)
    return _by(scores.max(1), scores.argmax(1) != labels)


def disagreements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Indices of the images that two models class differently, the most confident of either first."""
    differ = scores.argmax(1) != others.argmax(1)
    return _by(np.maximum(scores.max(1), others.max(1)), differ)


def _by(key: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(-key[indices], kind="stable")]
