"""The cases of a reader study: drawn from a test split, and kept as study.json for other readers."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medvit.errors import MedvitError

CONDITIONS = {
    "none": "no advice",
    "answer": "the model's answer with its probability",
    "set": "answer and prediction set",
    "heatmap": "answer and heatmap",
}
MAX_CASES = 1000
MAX_BYTES = 2**20  # of study.json
MAX_TEXT = 100  # characters of a name
MAX_INTEGER = 2**31
VERSION = 1


@dataclass(frozen=True)
class Case:
    """One image of a study: its index in the test split, and what the reader is shown beside it."""

    index: int
    condition: str


@dataclass(frozen=True)
class Study:
    """The cases of a study in their order, the same for every reader.

    `checkpoint` is the sha256 of the weights whose answers are the advice; other weights make another study.
    `method` is the kind of heatmap, "" where no condition shows one. `seed` and the options of `make_study`
    are kept for the record.
    """

    dataset: str
    model: str
    checkpoint: str
    seed: int
    balanced: bool
    wrong_fraction: float | None
    method: str
    cases: tuple[Case, ...]

    @property
    def code(self) -> str:
        """Eight hexadecimal digits that differ between any two studies."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def to_json(self) -> str:
        """The content of study.json."""
        return json.dumps({"version": VERSION, "code": self.code} | asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Study":
        """Read study.json.

        Raises:
            MedvitError: it is not one, or was changed by hand.
        """
        try:
            content = json.loads(text) if len(text) <= MAX_BYTES else {}
            version, code = content.pop("version"), content.pop("code")
            study = cls.from_dict(content)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise MedvitError("This file is not a study.json of medvit.") from error
        if version != VERSION or code != study.code:
            raise MedvitError("This study.json was changed, or is of another version of medvit.")
        return study

    @classmethod
    def from_dict(cls, content: Any) -> "Study":
        """The inverse of `dataclasses.asdict`, for content of any origin.

        Raises:
            ValueError, TypeError, KeyError or AttributeError: it is not a study.
        """
        fraction, entries = content["wrong_fraction"], content["cases"]
        if not isinstance(entries, list | tuple) or not 0 < len(entries) <= MAX_CASES:
            raise ValueError("wrong number of cases")
        if fraction is not None and not (isinstance(fraction, float | int) and 0 <= fraction <= 1):
            raise ValueError("wrong_fraction is out of its range")
        if not isinstance(content["balanced"], bool):
            raise TypeError("balanced is not true or false")
        cases = tuple(Case(integer(case["index"]), text(case["condition"])) for case in entries)
        if any(case.condition not in CONDITIONS for case in cases):
            raise ValueError("unknown condition")
        return cls(
            dataset=text(content["dataset"]),
            model=text(content["model"]),
            checkpoint=text(content["checkpoint"]),
            seed=integer(content["seed"]),
            balanced=content["balanced"],
            wrong_fraction=fraction,
            method=text(content["method"]),
            cases=cases,
        )


def text(value: Any) -> str:
    """The value, where it is a short text; raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    if len(value) > MAX_TEXT:
        raise ValueError("too long a text")
    return value


def integer(value: Any) -> int:
    """The value, where it is an integer from 0 to 2**31; raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not an integer")
    if not 0 <= value <= MAX_INTEGER:
        raise ValueError("out of range")
    return value


def make_study(
    dataset: str,
    model: str,
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    checkpoint: str = "",
    cases: int = 20,
    conditions: Sequence[str] = ("answer",),
    balanced: bool = False,
    wrong_fraction: float | None = None,
    method: str = "",
    seed: int = 0,
) -> Study:
    """Draw the cases of a study from a test split.

    The conditions are randomised in permuted blocks, separately where the model is right and where it is
    wrong, so that each gets its share of both.

    Args:
        labels, predicted: class indices (N,), the true ones and the model's.
        balanced: the same number of images of each class, as far as they last; otherwise as they occur.
        wrong_fraction: fraction of the cases in which the model is wrong; None: as it occurs.
        method: of the heatmaps; kept only where a condition shows them.

    Raises:
        MedvitError: the test split has too few such images, or an option is out of its range.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise MedvitError("A reader study needs images with one label each.")
    if not 1 <= cases <= min(MAX_CASES, len(labels)):
        raise MedvitError(f"A study of this dataset can have 1 to {min(MAX_CASES, len(labels)):,} cases.")
    if not conditions or len(set(conditions)) != len(conditions) or set(conditions) - set(CONDITIONS):
        raise MedvitError(f"Name one or more conditions, each once: {', '.join(CONDITIONS)}.")
    if wrong_fraction is not None and not 0 <= wrong_fraction <= 1:
        raise MedvitError(f"The fraction of wrong advice is between 0 and 1, not {wrong_fraction:g}.")
    if not 0 <= seed <= MAX_INTEGER:
        raise MedvitError(f"The seed is a whole number from 0 to {MAX_INTEGER:,}.")
    rng = np.random.default_rng(seed)
    wrong = predicted != labels
    if wrong_fraction is None:
        drawn = _draw(rng, np.arange(len(labels)), labels, cases, balanced)
    else:
        count = round(cases * wrong_fraction)
        if count > wrong.sum() or cases - count > (~wrong).sum():
            raise MedvitError(
                f"The model is wrong on {wrong.sum():,} and right on {(~wrong).sum():,} test images, too few "
                f"for {count} and {cases - count}. Choose fewer cases or another fraction."
            )
        drawn = _draw(rng, np.flatnonzero(wrong), labels, count, balanced)
        drawn += _draw(rng, np.flatnonzero(~wrong), labels, cases - count, balanced, labels[drawn])
    pairs = [
        Case(index, condition)
        for stratum in (wrong[drawn], ~wrong[drawn])
        for index, condition in _in_blocks(rng, np.array(drawn)[stratum], conditions)
    ]
    order = rng.permutation(cases)
    return Study(
        dataset, model, checkpoint, seed, balanced, wrong_fraction, method if "heatmap" in conditions else "",
        tuple(pairs[i] for i in order),
    )  # fmt: skip


def _in_blocks(
    rng: np.random.Generator, indices: np.ndarray, conditions: Sequence[str]
) -> Iterator[tuple[int, str]]:
    """Pairs of an index and a condition, in permuted blocks of all conditions; the last may be cut off."""
    blocks = -(-len(indices) // len(conditions))
    assigned = [str(name) for _ in range(blocks) for name in rng.permutation(list(conditions))]
    return zip(rng.permutation(indices).tolist(), assigned, strict=False)


def _draw(
    rng: np.random.Generator,
    pool: np.ndarray,
    labels: np.ndarray,
    count: int,
    balanced: bool,
    already: np.ndarray | None = None,
) -> list[int]:
    """Draw `count` indices of `pool`; if balanced, the next one is of a class with the fewest so far."""
    if not balanced:
        return rng.choice(pool, count, replace=False).tolist()
    remaining = {
        int(label): rng.permutation(pool[labels[pool] == label]).tolist() for label in np.unique(labels)
    }
    counts = {label: 0 if already is None else int((already == label).sum()) for label in remaining}
    drawn = []
    for _ in range(count):
        candidates = [label for label, indices in remaining.items() if indices]
        fewest = min(counts[label] for label in candidates)
        label = int(rng.choice([label for label in candidates if counts[label] == fewest]))
        drawn.append(remaining[label].pop())
        counts[label] += 1
    return drawn
