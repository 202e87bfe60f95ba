"""Metrics of a reader study: accuracy alone and with the model, and appropriate reliance.

RAIR and RSR follow Schemmer et al. (IUI 2023). RAIR (relative AI reliance): of the cases with a wrong first
answer and right advice, the fraction whose final answer is right. RSR (relative self-reliance): of the cases
with a right first answer and wrong advice, the fraction whose final answer is right. Over-reliance: of the
cases with wrong advice, the fraction whose final answer is the advice. Under-reliance: of the cases with
right advice, the fraction whose final answer is another one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medvit.evaluation.metrics import mcnemar, wilson
from medvit.reader_study.results import CaseResult
from medvit.reader_study.study import CONDITIONS
from medvit.slow_imports import sklearn_metrics

MIN_CASES = 50  # with fewer, the 95 % interval of an accuracy may span more than 27 points
BOOTSTRAP_DRAWS = 2000
Z = 1.959964

Metrics = dict[str, Any]
ANSWERS: dict[str, Callable[[CaseResult], str]] = {
    "reader": lambda row: row.first_answer,
    "model": lambda row: row.advice,
    "reader_with_model": lambda row: row.final_answer,
}


def summarize(rows: Sequence[CaseResult], positive: Mapping[str, str] | None = None) -> Metrics:
    """Summarize the answers of one or more readers.

    Args:
        rows: at least one.
        positive: {two-class dataset: its positive class}; where all rows are of these datasets, sensitivity
            and specificity are reported, else the macro recall.

    Returns:
        `pooled` and `readers` ({reader: metrics}) as `measure` returns them, `mean` as `mean_over_readers`
        does (None for one reader), and `conclusion`. Pooled intervals treat the answers of several readers to
        one image as independent; those of `mean` do not.
    """
    names = sorted({row.reader for row in rows})
    pooled = measure(rows, positive)
    mean = mean_over_readers(rows) if len(names) > 1 else None
    return {
        "pooled": pooled,
        "readers": {name: measure([row for row in rows if row.reader == name], positive) for name in names},
        "mean": mean,
        "conclusion": conclusion(pooled, mean),
    }


def measure(rows: Sequence[CaseResult], positive: Mapping[str, str] | None = None) -> Metrics:
    """Metrics of answers; arguments as those of `summarize`.

    Returns:
        Accuracy, sensitivity, specificity, macro recall, McNemar's tests, reliance, switches and kappa are
        computed on the cases with advice, so that they are paired; where no case has advice, on all cases,
        and those of the final answer are those without the model. Proportions are {"value", "count", "n",
        "interval"} with Wilson's 95 % interval; value and interval are None where n is 0.
    """
    advised = [row for row in rows if row.condition != "none"] or list(rows)
    first, model, final = (
        np.array([answer(row) == row.truth for row in advised]) for answer in ANSWERS.values()
    )
    followed = np.array([row.final_answer == row.advice for row in advised])
    return {
        "cases": len(rows),
        "advised": sum(row.condition != "none" for row in rows),
        "accuracy": {
            name: proportion(correct) for name, correct in zip(ANSWERS, (first, model, final), strict=True)
        },
        **_by_class(advised, positive or {}),
        "mcnemar": {
            "reader_with_model, reader": _mcnemar(final, first),
            "reader_with_model, model": _mcnemar(final, model),
            "reader, model": _mcnemar(first, model),
        },
        "change": paired_difference(first, final),
        "conditions": _by_condition(rows),
        "rair": proportion(final[~first & model]),
        "rsr": proportion(final[first & ~model]),
        "over_reliance": proportion(followed[~model]),
        "under_reliance": proportion(~followed[model]),
        "switches": {
            "to_right": int((~first & final).sum()),
            "to_wrong": int((first & ~final).sum()),
            "between_wrong": sum(
                row.first_answer != row.final_answer and row.truth not in (row.first_answer, row.final_answer)
                for row in advised
            ),
        },
        "kappa": {
            "first": cohen_kappa([row.first_answer for row in advised], [row.advice for row in advised]),
            "final": cohen_kappa([row.final_answer for row in advised], [row.advice for row in advised]),
        },
        "brier": {
            "first": brier(
                [row.first_confidence for row in rows], [row.first_answer == row.truth for row in rows]
            ),
            "final": brier(
                [row.final_confidence for row in rows], [row.final_answer == row.truth for row in rows]
            ),
        },
        "seconds": {
            "first": float(np.median([row.seconds_first for row in rows])),
            "final": float(np.median([row.seconds_final for row in rows])),
            "case": float(np.mean([row.seconds_first + row.seconds_final for row in rows])),
        },
        "misled": [
            row
            for row, misled in zip(advised, first & ~model & ~final & followed, strict=True)
            if misled and row.condition != "none"
        ],
    }


def proportion(correct: np.ndarray) -> Metrics:
    """A proportion of booleans (N,) with its Wilson interval."""
    count, n = int(np.sum(correct)), len(correct)
    if n == 0:
        return {"value": None, "count": 0, "n": 0, "interval": None}
    return {"value": count / n, "count": count, "n": n, "interval": wilson(count, n)}


def paired_difference(before: np.ndarray, after: np.ndarray) -> Metrics:
    """Change of a proportion on the same cases (N,), with its 95 % interval by Agresti and Min (2005)."""
    gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    difference = (gained - lost) / (n + 2)
    spread = Z * np.sqrt(gained + lost + 1 - (gained - lost) ** 2 / (n + 2)) / (n + 2)
    interval = float(max(-1, difference - spread)), float(min(1, difference + spread))
    return {"value": (gained - lost) / n, "gained": gained, "lost": lost, "n": n, "interval": interval}


def cohen_kappa(answers: Sequence[str], others: Sequence[str]) -> float | None:
    """Cohen's kappa: agreement beyond chance; None where both give the same single answer throughout."""
    if len({*answers, *others}) == 1:
        return None
    return float(sklearn_metrics.cohen_kappa_score(answers, others))


def brier(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Mean squared distance between a reader's confidence and being right (1) or wrong (0)."""
    return float(np.mean((np.array(confidences) - np.array(correct, float)) ** 2))


def _mcnemar(correct: np.ndarray, other: np.ndarray) -> Metrics:
    only, other_only, p = mcnemar(correct, other)
    return {"only_first": only, "only_second": other_only, "p": p}


def _by_class(rows: Sequence[CaseResult], positive: Mapping[str, str]) -> Metrics:
    """Sensitivity and specificity, or the macro recall, of each kind of answer."""
    if all(row.dataset in positive for row in rows):
        diseased = np.array([row.truth == positive[row.dataset] for row in rows])
        called = {
            name: np.array([answer(row) == positive[row.dataset] for row in rows])
            for name, answer in ANSWERS.items()
        }
        return {
            "sensitivity": {name: proportion(calls[diseased]) for name, calls in called.items()},
            "specificity": {name: proportion(~calls[~diseased]) for name, calls in called.items()},
        }
    groups: dict[tuple[str, str], list[CaseResult]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.truth), []).append(row)
    recalls = {
        name: [np.mean([answer(row) == row.truth for row in group]) for group in groups.values()]
        for name, answer in ANSWERS.items()
    }
    return {"macro_recall": {name: float(np.mean(values)) for name, values in recalls.items()}}


def _by_condition(rows: Sequence[CaseResult]) -> dict[str, Metrics]:
    """First and final accuracy, and their difference, in each condition."""
    result = {}
    for condition in CONDITIONS:
        group = [row for row in rows if row.condition == condition]
        if not group:
            continue
        first = np.array([row.first_answer == row.truth for row in group])
        final = np.array([row.final_answer == row.truth for row in group])
        result[condition] = {
            "first": proportion(first),
            "final": proportion(final),
            "change": paired_difference(first, final),
            "p": mcnemar(final, first)[2],
        }
    return result


def mean_over_readers(rows: Sequence[CaseResult], draws: int = BOOTSTRAP_DRAWS) -> Metrics:
    """Mean over readers of accuracy, its change, RAIR and RSR, on the cases with advice.

    The 95 % intervals are percentiles of a bootstrap that draws readers and images (multi-reader multi-case):
    all answers to a drawn image by a drawn reader enter together.
    """
    advised = [row for row in rows if row.condition != "none"] or list(rows)
    readers = {name: i for i, name in enumerate(sorted({row.reader for row in advised}))}
    images = {key: i for i, key in enumerate(sorted({(row.dataset, row.index) for row in advised}))}
    shape = len(readers), len(images)
    names = ("reader", "reader_with_model", "rair", "rsr")
    hits, totals = np.zeros((4, *shape)), np.zeros((4, *shape))
    for row in advised:
        first, final = row.first_answer == row.truth, row.final_answer == row.truth
        eligible = (True, True, not first and row.model_correct, first and not row.model_correct)
        right = (first, final, final, final)
        place = readers[row.reader], images[row.dataset, row.index]
        hits[:, *place] += np.logical_and(eligible, right)
        totals[:, *place] += eligible
    rng = np.random.default_rng(0)
    image_counts = rng.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), draws)  # (draws, images)
    reader_counts = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), draws)  # (draws, readers)
    unweighted = np.ones((1, shape[1])), np.ones((1, shape[0]))
    points = _reader_means(hits, totals, *unweighted)[:, 0]
    drawn = _reader_means(hits, totals, image_counts, reader_counts)
    values = dict(zip(names, points, strict=True)) | {"change": points[1] - points[0]}
    samples = dict(zip(names, drawn, strict=True)) | {"change": drawn[1] - drawn[0]}
    return {"readers": shape[0], "images": shape[1]} | {
        name: {"value": _finite(value), "interval": _percentiles(samples[name])}
        for name, value in values.items()
    }


def _reader_means(
    hits: np.ndarray, totals: np.ndarray, image_counts: np.ndarray, reader_counts: np.ndarray
) -> np.ndarray:
    """Weighted means over readers (measures, draws) of proportions.

    `hits` and `totals` are (measures, readers, images), the counts (draws, images) and (draws, readers). A
    reader without an eligible case does not count.
    """
    n = np.einsum("di,mri->mdr", image_counts, totals)
    values = np.einsum("di,mri->mdr", image_counts, hits) / np.where(n > 0, n, 1)
    weights = reader_counts * (n > 0)
    total = weights.sum(-1)
    return np.where(total > 0, (weights * values).sum(-1) / np.where(total > 0, total, 1), np.nan)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _percentiles(samples: np.ndarray) -> tuple[float, float] | None:
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return None
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def conclusion(pooled: Metrics, mean: Metrics | None = None) -> str:
    """What the metrics show, and what they do not show at this number of cases, in a few sentences."""
    if not pooled["advised"]:
        alone = pooled["accuracy"]["reader"]
        low, high = alone["interval"]
        return (
            f"No advice was given: alone, {alone['count']} of {alone['n']} answers are right ({low:.0%} to "
            f"{high:.0%}), which says nothing about the model's help."
        )
    change = mean["change"] if mean else pooled["change"]
    low, high = change["interval"]
    cases = mean["images"] if mean else pooled["advised"]
    readers = f"{mean['readers']} readers" if mean else "one reader"
    text = (
        f"With the model's advice the accuracy changed by {100 * change['value']:+.0f} points (95 % interval "
        f"{100 * low:+.0f} to {100 * high:+.0f}) for {readers} on {cases} images. "
    )
    if cases < MIN_CASES:
        text += f"Fewer than {MIN_CASES} images are too few to conclude whether the model helps."
    elif low > 0:
        text += "On these images the advice helped."
    elif high < 0:
        text += "On these images the advice did harm."
    else:
        text += "The interval includes zero, so neither help nor harm is shown."
    who = "these readers" if mean else "this reader"
    return f"{text} The result is about {who} and these images, not about others."
