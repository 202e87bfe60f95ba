"""Metrics of a reader study: accuracy alone and with the model, and appropriate reliance.

RAIR and RSR follow Schemmer et al. (IUI 2023). RAIR (relative AI reliance): of the cases with a wrong first
answer and right advice, the fraction whose final answer is right. RSR (relative self-reliance): of the cases
with a right first answer and wrong advice, the fraction whose final answer is right. Over-reliance: of the
cases with wrong advice, the fraction whose final answer is the advice. Under-reliance: of the cases with
right advice, the fraction whose final answer is another one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from medvit.evaluation.metrics import mcnemar, wilson
from medvit.evaluation.one_vs_rest import Z
from medvit.reader_study.multi_reader import mean_over_readers
from medvit.reader_study.results import CaseResult, check
from medvit.reader_study.study import CONDITIONS
from medvit.slow_imports import sklearn_metrics

MIN_CASES = 50  # with fewer, the 95 % interval of an accuracy may span more than 27 points

Metrics = dict[str, Any]
ANSWERS: dict[str, Callable[[CaseResult], str]] = {
    "reader": lambda row: row.first_answer,
    "model": lambda row: row.advice,
    "reader_with_model": lambda row: row.final_answer,
}
OWN = ("reader", "reader_with_model")  # the reader's own answers, first and final


def summarize(rows: Sequence[CaseResult], positive: Mapping[str, str] | None = None) -> Metrics:
    """Summarize the answers of one or more readers.

    Args:
        rows: at least one; as `results.check` accepts them.
        positive: {two-class dataset: its positive class}; where all rows are of these datasets, sensitivity
            and specificity are reported, else the macro recall.

    Returns:
        `pooled` and `readers` ({reader: metrics}) as `measure` returns them, `mean` as `mean_over_readers`
        does (None for one reader), and `conclusion`.

    Raises:
        MedvitError: the rows contradict each other, or one is there twice.
    """
    check(rows)
    names = sorted({row.reader for row in rows})
    readers = {name: measure([row for row in rows if row.reader == name], positive) for name in names}
    pooled = measure(rows, positive)
    mean = mean_over_readers(rows) if len(names) > 1 else None
    advised = [metrics for metrics in readers.values() if metrics["advised"]]
    alone = advised[0] if len(advised) == 1 else None
    return {
        "pooled": pooled,
        "readers": readers,
        "mean": mean,
        "conclusion": conclusion(alone or pooled, None if alone else mean),
    }


def measure(rows: Sequence[CaseResult], positive: Mapping[str, str] | None = None) -> Metrics:
    """Metrics of answers; arguments as those of `summarize`.

    Returns:
        Accuracy, sensitivity, specificity, macro recall, McNemar's tests, reliance, switches and kappa are
        computed on the cases with advice, so that they are paired. Where no case has advice, those that do
        not depend on it are computed on all cases, and the final answer is that of a second look.
        Proportions are {"value", "count", "n", "interval"} with Wilson's 95 % interval; value and interval
        are None where n is 0. `beyond_control`: the change with advice minus the change without, None where
        one of both is absent. `images`: how many different ones have advice. Intervals and p values take
        answers to be independent; they are None where an image was read more than once, by several readers
        (see `multi_reader`) or in several studies of one.
    """
    images = {(row.dataset, row.index) for row in rows}
    several = len({row.reader for row in rows}) > 1 or len(images) < len(rows)
    with_advice = [row for row in rows if row.advised]
    counted = with_advice or list(rows)
    first, model, final = (
        np.array([answer(row) == row.truth for row in counted]) for answer in ANSWERS.values()
    )
    advised = np.array([row.advised for row in counted])
    followed = np.array([row.final_answer == row.advice for row in counted])
    proportion = partial(_proportion, several=several)
    change = paired_difference(first, final, several)
    return {
        "cases": len(rows),
        "advised": len(with_advice),
        "images": len({(row.dataset, row.index) for row in with_advice}),
        "accuracy": {
            name: proportion(correct) for name, correct in zip(ANSWERS, (first, model, final), strict=True)
        },
        **_by_class(counted, positive or {}, several),
        "mcnemar": {
            "reader_with_model, reader": _mcnemar(final, first, several),
            "reader_with_model, model": _mcnemar(final, model, several),
            "reader, model": _mcnemar(first, model, several),
        },
        "change": change,
        "beyond_control": _beyond_control(change, rows) if with_advice and not several else None,
        "conditions": _by_condition(rows, several),
        "rair": proportion(final[advised & ~first & model]),
        "rsr": proportion(final[advised & first & ~model]),
        "over_reliance": proportion(followed[advised & ~model]),
        "under_reliance": proportion(~followed[advised & model]),
        "switches": {
            "to_right": int((~first & final).sum()),
            "to_wrong": int((first & ~final).sum()),
        },
        "kappa": {
            "first": cohen_kappa([row.first_answer for row in counted], [row.advice for row in counted]),
            "final": cohen_kappa(
                [row.final_answer for row in with_advice], [row.advice for row in with_advice]
            ),
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
            row for row, misled in zip(counted, advised & first & ~model & followed, strict=True) if misled
        ],
    }


def _proportion(correct: np.ndarray, several: bool = False) -> Metrics:
    """A proportion of booleans (N,) with its Wilson interval, which `several` answers to an image lack."""
    count, n = int(np.sum(correct)), len(correct)
    if n == 0:
        return {"value": None, "count": 0, "n": 0, "interval": None}
    return {"value": count / n, "count": count, "n": n, "interval": None if several else wilson(count, n)}


def paired_difference(before: np.ndarray, after: np.ndarray, several: bool = False) -> Metrics:
    """Change of a proportion on the same cases (N,), with its 95 % interval by Agresti and Min (2005).

    Args:
        several: whether there are several answers to an image, which leaves no interval.
    """
    gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    change: Metrics = {"value": (gained - lost) / n, "gained": gained, "lost": lost, "n": n, "interval": None}
    if not several:
        change["interval"] = _interval(*_agresti_min(change), limit=1)
    return change


def _agresti_min(change: Metrics) -> tuple[float, float]:
    """Estimate and variance of a paired difference, after half a case is added to each of the four cells."""
    net, n = change["gained"] - change["lost"], change["n"] + 2
    return net / n, (change["gained"] + change["lost"] + 1 - net**2 / n) / n**2


def _interval(estimate: float, variance: float, limit: float) -> tuple[float, float]:
    spread = Z * math.sqrt(variance)
    return max(-limit, estimate - spread), min(limit, estimate + spread)


def _beyond_control(change: Metrics, rows: Sequence[CaseResult]) -> Metrics | None:
    """The change with advice minus that of a second look without, on other cases of the same reader.

    The interval adds the variances of both changes by Agresti and Min.
    """
    control = [row for row in rows if not row.advised]
    if not control:
        return None
    first, final = (np.array([ANSWERS[name](row) == row.truth for row in control]) for name in OWN)
    without = paired_difference(first, final)
    (estimate, variance), (other, other_variance) = _agresti_min(change), _agresti_min(without)
    return {
        "value": change["value"] - without["value"],
        "interval": _interval(estimate - other, variance + other_variance, limit=2),
    }


def cohen_kappa(answers: Sequence[str], others: Sequence[str]) -> float | None:
    """Cohen's kappa: agreement beyond chance; None without answers, or where all are the same."""
    if len({*answers, *others}) < 2:
        return None
    return float(sklearn_metrics.cohen_kappa_score(answers, others))


def brier(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Mean squared distance between a reader's confidence and being right (1) or wrong (0)."""
    return float(np.mean((np.array(confidences) - np.array(correct, float)) ** 2))


def _mcnemar(correct: np.ndarray, other: np.ndarray, several: bool) -> Metrics:
    only, other_only, p = mcnemar(correct, other)
    return {"only_first": only, "only_second": other_only, "p": None if several else p}


def _by_class(rows: Sequence[CaseResult], positive: Mapping[str, str], several: bool) -> Metrics:
    """Sensitivity and specificity, or the macro recall, of each kind of answer."""
    if all(row.dataset in positive for row in rows):
        diseased = np.array([row.truth == positive[row.dataset] for row in rows])
        called = {
            name: np.array([answer(row) == positive[row.dataset] for row in rows])
            for name, answer in ANSWERS.items()
        }
        return {
            "sensitivity": {name: _proportion(calls[diseased], several) for name, calls in called.items()},
            "specificity": {name: _proportion(~calls[~diseased], several) for name, calls in called.items()},
        }
    groups: dict[tuple[str, str], list[CaseResult]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.truth), []).append(row)
    recalls = {
        name: [np.mean([answer(row) == row.truth for row in group]) for group in groups.values()]
        for name, answer in ANSWERS.items()
    }
    return {"macro_recall": {name: float(np.mean(values)) for name, values in recalls.items()}}


def _by_condition(rows: Sequence[CaseResult], several: bool) -> dict[str, Metrics]:
    """First and final accuracy and the change in each condition; of several readers the mean change."""
    result = {}
    for condition in CONDITIONS:
        group = [row for row in rows if row.condition == condition]
        if not group:
            continue
        first, final = (np.array([ANSWERS[name](row) == row.truth for row in group]) for name in OWN)
        result[condition] = {
            "first": _proportion(first, several),
            "final": _proportion(final, several),
            "change": mean_over_readers(group)["change"] if several else paired_difference(first, final),
            "p": _mcnemar(final, first, several)["p"],
        }
    return result


def conclusion(metrics: Metrics, mean: Metrics | None = None) -> str:
    """What the metrics show, and what they do not show at this number of cases, in a few sentences.

    Args:
        metrics: as `measure` returns them. mean: as `mean_over_readers` returns it, for several readers.
    """
    if not metrics["advised"]:
        alone = metrics["accuracy"]["reader"]
        return (
            f"No advice was given: alone, {alone['count']} of {alone['n']} answers are right, which says "
            "nothing about the model's help."
        )
    source = mean or metrics
    change, beyond = source["change"], source["beyond_control"]
    cases = mean["images"] if mean else metrics["images"]
    who = f"{mean['readers']} readers" if mean else "one reader"
    text = f"With the model's advice the accuracy changed by {points(change)} for {who} on {cases} images. "
    if beyond:
        some = mean and beyond["readers"] < mean["readers"]
        of_some = f" for the {beyond['readers']} readers who also had such cases" if some else ""
        text += f"Beyond the change of a second look without advice, this is {points(beyond)}{of_some}. "
    interval = (beyond or change)["interval"]
    if cases < MIN_CASES:
        text += f"Fewer than {MIN_CASES} images are too few to conclude whether the model helps."
    elif interval is None and not mean:
        text += "Some images were read more than once, so there is no interval, and nothing is concluded."
    elif interval is None:
        text += "The answers vary too little for an interval, so neither help nor harm is shown."
    elif interval[0] <= 0 <= interval[1]:
        text += "The interval includes zero, so neither help nor harm is shown."
    else:
        better = interval[0] > 0
        if beyond:
            text += f"The advice {'helped' if better else 'did harm'}."
        else:
            text += (
                f"The answers became {'better' if better else 'worse'} after the advice; without cases that "
                f"have no advice{' from at least two readers' if mean else ''}, it is not known how much a "
                "second look alone would have changed."
            )
    if mean:
        return f"{text} The interval is for readers and images like these."
    return f"{text} The result is about this reader and images like these, not about other readers."


def points(change: Metrics, name: str = "95 % interval ") -> str:
    """A change, and its interval behind `name`, in points of accuracy."""
    text = f"{100 * change['value']:+.0f} points"
    if change["interval"] is None:
        return text
    low, high = change["interval"]
    return f"{text} ({name}{100 * low:+.0f} to {100 * high:+.0f})"
