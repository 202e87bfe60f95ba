"""The cases of a reader study: drawn from a test split, and kept as study.json for other readers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from medvit.errors import MedvitError

CONDITIONS = {
    "none": "no advice",
    "answer": "the model's answer with its probability",
    "set": "answer and prediction set",
    "heatmap": "answer and heatmap",
}
MAX_CASES = 1000
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
    `seed` and the options of `make_study` are kept for the record.
    """

    dataset: str
    model: str
    checkpoint: str
    seed: int
    balanced: bool
    wrong_fraction: float | None
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
            content = json.loads(text)
            version, code = content.pop("version"), content.pop("code")
            cases = tuple(Case(int(case["index"]), str(case["condition"])) for case in content.pop("cases"))
            study = cls(cases=cases, **content)
            valid = version == VERSION and code == study.code and 0 < len(cases) <= MAX_CASES
            valid = valid and all(case.index >= 0 and case.condition in CONDITIONS for case in cases)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise MedvitError(f"This is not a study.json of medvit ({error}).") from error
        if not valid:
            raise MedvitError("This study.json is damaged, was changed, or is of another version of medvit.")
        return study


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
    seed: int = 0,
) -> Study:
    """Draw the cases of a study from a test split.

    The conditions are randomised in permuted blocks, separately where the model is right and where it is
    wrong, so that each gets its share of both.

    Args:
        labels, predicted: class indices (N,), the true ones and the model's.
        balanced: the same number of images of each class, as far as they last; otherwise as they occur.
        wrong_fraction: fraction of the cases in which the model is wrong; None: as it occurs.

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
    by_advice = sorted(rng.permutation(drawn).tolist(), key=lambda index: not wrong[index])
    blocks = -(-cases // len(conditions))
    assigned = [str(name) for _ in range(blocks) for name in rng.permutation(list(conditions))][:cases]
    pairs = [Case(index, condition) for index, condition in zip(by_advice, assigned, strict=True)]
    order = rng.permutation(cases)
    return Study(dataset, model, checkpoint, seed, balanced, wrong_fraction, tuple(pairs[i] for i in order))


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
