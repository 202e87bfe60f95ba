"""Precision, recall and F1 of each class, with 95 % intervals."""

from dataclasses import dataclass

import numpy as np

from medvit.evaluation.metrics import wilson

DRAWS = 2000


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class against the rest, each with its interval; None where nothing can be said."""

    name: str
    support: int
    precision: float
    precision_interval: tuple[float, float] | None
    recall: float
    recall_interval: tuple[float, float] | None
    f1: float
    f1_interval: tuple[float, float] | None
    auc: float
    average_precision: float


def per_class(labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...]) -> list[ClassFigures]:
    """One row a class.

    Wilson's interval for precision and recall, which are proportions; for F1 the percentiles of 2,000 draws
    of the test split with replacement (bootstrap), always the same ones.

    Args:
        labels: (N,) class indices, or (N, C) of 0 and 1. scores: probabilities (N, C).
    """
    truth = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(len(classes))
    guess = scores > 0.5 if labels.ndim == 2 else scores.argmax(1)[:, None] == np.arange(len(classes))
    return [_row(name, truth[:, i], guess[:, i], scores[:, i]) for i, name in enumerate(classes)]


def _row(name: str, truth: np.ndarray, guess: np.ndarray, score: np.ndarray) -> ClassFigures:
    from sklearn.metrics import average_precision_score, roc_auc_score

    hit, said, support, total = int((truth & guess).sum()), int(guess.sum()), int(truth.sum()), len(truth)
    counts = np.array([hit, said - hit, support - hit, total - said - support + hit])  # TP, FP, FN, TN
    draws = np.random.default_rng(0).multinomial(total, counts / total, DRAWS)
    f1 = _f1(draws)
    both = 0 < support < total
    return ClassFigures(
        name,
        support,
        hit / said if said else 0.0,
        wilson(hit, said) if said else None,
        hit / support if support else 0.0,
        wilson(hit, support) if support else None,
        float(_f1(counts[None])[0]),
        (float(np.percentile(f1, 2.5)), float(np.percentile(f1, 97.5))) if support else None,
        float(roc_auc_score(truth, score)) if both else float("nan"),
        float(average_precision_score(truth, score)) if both else float("nan"),
    )


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 of counts (M, 4) of TP, FP, FN, TN; 0 where there is nothing to find and nothing found."""
    hits, wrong, missed = counts[:, 0], counts[:, 1], counts[:, 2]
    return 2 * hits / (2 * hits + wrong + missed).clip(1)
