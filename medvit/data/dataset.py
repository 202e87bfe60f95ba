"""What is known of a dataset apart from its images."""

from dataclasses import dataclass

from medvit.data import settings
from medvit.data.settings import DatasetSettings

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """Names, classes, task, licence and origin of a dataset.

    `name` is the short name used in commands and folders, `title` the one shown to people.
    `task` is MedMNIST's: "multi-class", "binary-class", "ordinal-regression" or "multi-label, binary-class".
    `channels` is 1 for grey images and 3 for RGB. `samples` is the number of images of each split.
    `url` and `md5` of the archive are keyed by the side of its images in pixels.
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

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of the labels, and not exactly one."""
        return self.task == "multi-label, binary-class"

    @property
    def ordinal(self) -> bool:
        """Whether the classes are ordered grades."""
        return self.task == "ordinal-regression"

    @property
    def settings(self) -> DatasetSettings:
        """The project's settings for this dataset, from the one table in `medvit.data.settings`."""
        return settings.of(self.name)


def short_name(label: str) -> str:
    """Return a class name for places with little room: without brackets; a bare number becomes a grade."""
    return f"grade {label}" if label.isdigit() else label.split("(")[0].strip()
