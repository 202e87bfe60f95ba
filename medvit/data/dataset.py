"""What is known of a dataset apart from its images."""

import re
from dataclasses import dataclass, fields
from typing import Any

from medvit.data import settings
from medvit.data.settings import DatasetSettings
from medvit.errors import MedvitError

SPLITS = ("train", "val", "test")
MAX_CLASSES = 1000
MAX_TEXT = 100  # characters of a title or a class name
SOURCE_SIZES = range(16, 513)  # of one's own pictures, in pixels
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Dataset:
    """Names, classes, task, licence and origin of a dataset.

    `name` is the short name used in commands and folders, `title` the one shown to people.
    `task` is MedMNIST's: "multi-class", "binary-class", "ordinal-regression" or "multi-label, binary-class".
    `channels` is 1 for grey images and 3 for RGB. `samples` is the number of images of each split.
    `url` and `md5` of the archive are keyed by the side of its images in pixels.

    For one's own pictures: `digest` is the sha256 of classes, labels and pixels, and `source_size` the side
    of the prepared images in pixels. Both are empty for a subset of MedMNIST.
    """

    name: str
    title: str
    description: str
    task: str
    classes: tuple[str, ...]
    channels: int
    samples: dict[str, int]
    licence: str
    url: dict[int, str]
    md5: dict[int, str]
    digest: str = ""
    source_size: int = 0

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    @property
    def own(self) -> bool:
        """Whether these are one's own pictures, and not a subset of MedMNIST."""
        return bool(self.digest)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of the labels, and not exactly one."""
        return self.task == "multi-label, binary-class"

    @property
    def settings(self) -> DatasetSettings:
        """The project's settings for this dataset, from the one table in `medvit.data.settings`."""
        return settings.of(self.name)


def own_dataset(
    name: str,
    title: str,
    classes: tuple[str, ...],
    channels: int,
    samples: dict[str, int],
    digest: str,
    source_size: int,
) -> Dataset:
    """Return the dataset of one's own pictures; the arguments are its fields."""
    return Dataset(
        name=name,
        title=title,
        description=f"{sum(samples.values()):,} labelled pictures in {len(classes)} classes.",
        task="binary-class" if len(classes) == 2 else "multi-class",
        classes=classes,
        channels=channels,
        samples=samples,
        licence="not stated",
        url={},
        md5={},
        digest=digest,
        source_size=source_size,
    )


JSON_FIELDS = ("name", "title", "classes", "channels", "samples", "digest", "source_size")


def to_json(dataset: Dataset) -> dict[str, Any]:
    """Return the facts of one's own pictures, for a card; no path is among them."""
    facts = {field.name: getattr(dataset, field.name) for field in fields(dataset)}
    return {key: facts[key] for key in JSON_FIELDS} | {"classes": list(dataset.classes)}


def from_json(facts: Any) -> Dataset:
    """Read what `to_json` returned.

    Raises:
        MedvitError: a field is missing or out of its range; the text names it.
    """
    if not isinstance(facts, dict):
        raise MedvitError("the dataset is not an object")
    for key, valid in _VALID.items():
        if not valid(facts.get(key)):
            raise MedvitError(f"the dataset has no usable {key!r}")
    samples = {split: facts["samples"][split] for split in SPLITS}
    return own_dataset(
        facts["name"], facts["title"], tuple(facts["classes"]), facts["channels"], samples, facts["digest"],
        facts["source_size"],
    )  # fmt: skip


def is_plain_text(text: Any) -> bool:
    """Whether a value is a text of one line that can be shown: a class name, a title."""
    return isinstance(text, str) and 0 < len(text.strip()) == len(text) <= MAX_TEXT and text.isprintable()


def _are_classes(value: Any) -> bool:
    distinct = isinstance(value, list) and 2 <= len(value) <= MAX_CLASSES and all(map(is_plain_text, value))
    return distinct and len(set(value)) == len(value)


def _are_samples(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(value.get(split)) is int and 0 <= value[split] < 2**40 for split in SPLITS
    )


_VALID = {
    "name": lambda value: isinstance(value, str) and NAME.fullmatch(value),
    "title": is_plain_text,
    "classes": _are_classes,
    "channels": lambda value: type(value) is int and value in (1, 3),
    "samples": _are_samples,
    "digest": lambda value: isinstance(value, str) and DIGEST.fullmatch(value),
    "source_size": lambda value: type(value) is int and value in SOURCE_SIZES,
}


def short_name(label: str) -> str:
    """Return a class name for places with little room: without brackets; a bare number becomes a grade."""
    return f"grade {label}" if label.isdigit() else label.split("(")[0].strip()
