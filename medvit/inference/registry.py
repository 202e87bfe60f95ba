"""What the screens draw on: checkpoints, loaded when first asked for, and images to try them on."""

import random
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from medvit import checkpoint, limits
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist, synthetic
from medvit.errors import MedvitError
from medvit.evaluation import selection
from medvit.evaluation.metrics import probabilities
from medvit.inference.predictor import Predictor

EXAMPLES = 12


@dataclass(frozen=True)
class Sample:
    """An image on the table of a subset: source pixels, uint8 (s, s, 3), origin, the true class if known."""

    subset: str
    source: np.ndarray
    origin: str
    truth: int | None = None

    @property
    def drawn(self) -> bool:
        """Whether it is a phantom, which no one should take for data."""
        return self.origin.startswith("phantom")


@dataclass
class Registry:
    """All checkpoints below a folder, and test images below a data root. Safe to share between threads.

    `model_bytes`: the weights held in memory; beyond it, the models that were not asked for longest leave.
    """

    root: Path
    data_root: Path
    problems: dict[str, str] = field(default_factory=dict)
    model_bytes: int = limits.MODEL_BYTES
    _asked: OrderedDict[Path, Predictor] = field(default_factory=OrderedDict)
    _room: threading.Lock = field(default_factory=threading.Lock)
    _predictors: dict[str, dict[str, Predictor]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls,
        root: str | Path | None = None,
        data_root: str | Path | None = None,
        model_bytes: int = limits.MODEL_BYTES,
    ) -> "Registry":
        """Look through the folder of checkpoints; damaged ones are kept in `problems` and left out."""
        root = Path(root or checkpoint.DEFAULT_ROOT)
        found, problems = checkpoint.discover(root)
        if not found:
            reasons = " ".join(problems.values())
            raise MedvitError(
                f"There is no checkpoint in {root}. {reasons} Train one with scripts/train.py, or name "
                "another folder with --checkpoints."
            )
        registry = cls(root, medmnist.data_root(data_root), problems, model_bytes)
        for one in found:
            registry._predictors.setdefault(one.subset.name, {})[one.model_name] = Predictor(one)
        return registry

    def subset_choices(self) -> list[tuple[str, str]]:
        """(title, name) of each subset with a checkpoint."""
        return [(medmnist.get(name).title, name) for name in self._predictors]

    def model_choices(self, subset: str) -> list[tuple[str, str]]:
        """(title, name) of each model of a subset."""
        return [(p.checkpoint.title, name) for name, p in self._of_subset(subset).items()]

    def has(self, subset: str, model: str) -> bool:
        """Whether there is such a checkpoint."""
        return model in self._predictors.get(subset, {})

    def predictor(self, subset: str, model: str) -> Predictor:
        """The predictor of a checkpoint; others may have to leave memory for it.

        Raises:
            MedvitError: there is none; the text names those that exist.
        """
        predictor = self._find(subset, model)
        self._make_room(predictor)
        return predictor

    def _find(self, subset: str, model: str) -> Predictor:
        models = self._of_subset(subset)
        if model not in models:
            raise MedvitError(f"There is no model {model!r} for {subset}. There are: {', '.join(models)}.")
        return models[model]

    def _make_room(self, wanted: Predictor) -> None:
        """Count a model as the one last asked for, and unload others while all together are too large."""
        with self._room:
            self._asked[wanted.checkpoint.folder] = wanted
            self._asked.move_to_end(wanted.checkpoint.folder)
            others = [one for one in self._asked.values() if one.loaded and one is not wanted]
            size = sum(map(_weights, [*others, wanted]))
            for oldest in others:
                if size <= self.model_bytes:
                    break
                oldest.unload()
                size -= _weights(oldest)

    def warm(self) -> None:
        """Load every model, as far as there is room."""
        size = 0
        for subset, models in self._predictors.items():
            for name, predictor in models.items():
                size += _weights(predictor)
                if size <= self.model_bytes:
                    self.predictor(subset, name).methods()  # which loads it

    def checkpoint(self, subset: str, model: str) -> Checkpoint:
        """The checkpoint of a model; raises like `predictor`."""
        return self._find(subset, model).checkpoint

    def _of_subset(self, subset: str) -> dict[str, Predictor]:
        if subset not in self._predictors:
            raise MedvitError(f"There is no subset {subset!r}. There are: {', '.join(self._predictors)}.")
        return self._predictors[subset]

    def _size(self, subset: str) -> int:
        return next(iter(self._of_subset(subset).values())).checkpoint.card["source_size"]

    def has_data(self, subset: str) -> bool:
        """Whether the test images of a subset are on disk, and readable."""
        try:
            self._test_split(subset)
        except MedvitError:
            return False
        return True

    def examples(self, subset: str) -> list[Sample]:
        """A dozen images to start from: test images spread over the classes, else phantoms."""
        if not self.has_data(subset):
            drawings = (synthetic.draw(subset, i) for i in range(EXAMPLES))
            return [Sample(subset, one, f"phantom {i}, a drawing") for i, one in enumerate(drawings)]
        labels = self._test_split(subset)[1]
        every = medmnist.get(subset)
        if every.multi_label:
            return [self.test_sample(subset, i) for i in range(EXAMPLES)]
        of_class = [np.flatnonzero(labels == c) for c in range(len(every.classes))]
        turns = ((turn, c) for turn in range(EXAMPLES) for c in range(len(every.classes)))
        chosen = [int(of_class[c][turn]) for turn, c in turns if turn < len(of_class[c])]
        return [self.test_sample(subset, i) for i in chosen[:EXAMPLES]]

    def test_sample(self, subset: str, index: int) -> Sample:
        """Test image `index` with its truth; raises MedvitError where the archive has no such image."""
        pictures, labels = self._test_split(subset)
        if index >= len(labels):
            raise MedvitError(
                f"The data on disk have no test image {index}: this is not the official archive."
            )
        grey = pictures.ndim == 3
        source = np.repeat(pictures[index][..., None], 3, axis=-1) if grey else pictures[index]
        truth = int(labels[index]) if labels.ndim == 1 else None
        return Sample(subset, source, f"test image {index}", truth)

    def test_pictures(self, subset: str, model: str) -> np.ndarray:
        """The images that test.npz of a model speaks of, uint8 (N, s, s) or (N, s, s, 3).

        Raises:
            MedvitError: they are not on disk, or what is there are others.
        """
        pictures, labels = self._test_split(subset)
        if not np.array_equal(labels, self.checkpoint(subset, model).test_labels):
            raise MedvitError("The archive on disk is not the one that this model was tested on.")
        return pictures

    def random_sample(self, subset: str) -> Sample:
        """Any test image, or any phantom where there are none."""
        if not self.has_data(subset):
            return random.choice(self.examples(subset))  # noqa: S311
        return self.test_sample(subset, random.randrange(len(self._test_split(subset)[1])))  # noqa: S311

    def random_misclassified(self, subset: str, model: str) -> Sample:
        """Any test image that a model gets wrong; raises MedvitError where there is none, or no data."""
        found = self.checkpoint(subset, model)
        probs = probabilities(found.test_logits, found.subset.multi_label)
        wrong = selection.mistakes(probs, found.test_labels)
        if not len(wrong):
            raise MedvitError("This model makes no mistake on the test split.")
        return self.test_sample(subset, int(random.choice(wrong)))  # noqa: S311

    def _test_split(self, subset: str) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            return _load_test(subset, self._size(subset), self.data_root)

    def open_upload(self, subset: str, model: str, path: str) -> Sample:
        """A picture from outside, in the form the model takes; raises MedvitError where that fails."""
        return Sample(subset, self.predictor(subset, model).source(path), "your image")


def _weights(predictor: Predictor) -> int:
    return 4 * predictor.checkpoint.card["parameters"]  # bytes, as float32


@cache
def _load_test(subset: str, size: int, data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    return medmnist.load_split(subset, "test", size, data_root)
