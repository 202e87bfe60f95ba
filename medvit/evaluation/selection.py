"""Indices of the test images behind a number, most confident first: functions of probabilities and labels."""

import numpy as np


def in_cell(probs: np.ndarray, labels: np.ndarray, row: int, column: int) -> np.ndarray:
    """Images of class `row` predicted as class `column`.

    Args:
        probs: (N, C). labels: (N,) class indices.
    """
    return _most_confident(probs[:, column], (labels == row) & (probs.argmax(1) == column))


def in_one_cell_only(
    probs: np.ndarray, other_probs: np.ndarray, labels: np.ndarray, row: int, column: int
) -> np.ndarray:
    """Images of class `row` that exactly one of two models predicts as class `column`.

    Args:
        probs, other_probs: (N, C) of the two models, of which the greater sorts.
    """
    chosen = (probs.argmax(1) == column) ^ (other_probs.argmax(1) == column)
    return _most_confident(np.maximum(probs, other_probs)[:, column], (labels == row) & chosen)


def misclassified(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images with a wrong prediction.

    For labels (N, C) of 0 and 1 the confidence is that of the most confident wrong label, p or 1 - p.
    """
    if labels.ndim == 2:
        error = np.abs(probs - labels).max(1)
        return _most_confident(error, error > 0.5)
    return _most_confident(probs.max(1), probs.argmax(1) != labels)


def disagreements(probs: np.ndarray, other_probs: np.ndarray) -> np.ndarray:
    """Images that two models classify differently; the greater confidence of the two sorts."""
    differ = probs.argmax(1) != other_probs.argmax(1)
    return _most_confident(np.maximum(probs.max(1), other_probs.max(1)), differ)


def _most_confident(confidences: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(-confidences[indices], kind="stable")]
