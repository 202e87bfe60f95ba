"""Registry of lazily loaded checkpoints and of sample images."""

import random
import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from medvit import checkpoint, limits
from medvit.checkpoint import Checkpoint
from medvit.data import Dataset, as_rgb, load_split, medmnist, synthetic
from medvit.data.folder import dataset_name
from medvit.errors import MedvitError
from medvit.evaluation import selection
from medvit.evaluation.metrics import probabilities
from medvit.inference import external, pictures
from medvit.inference.predictor import Predictor
from medvit.inference.sample import Sample, photographs

EXAMPLES = 12


class Registry:
    """Checkpoints by subset and model, and test images below a data root. Thread-safe.

    Args:
        predictors: one per checkpoint.
        root: folder of the checkpoints.
        data_root: folder of the .npz archives.
        problems: checkpoint folder -> why it was left out.
        model_bytes: weights held in memory; beyond it, the least recently used models are unloaded.
    """

    def __init__(
        self,
        predictors: Iterable[Predictor],
        root: Path,
        data_root: Path,
        problems: dict[str, str] | None = None,
        model_bytes: int = limits.MODEL_BYTES,
    ):
        self.root = root
        self.data_root = data_root
        self.problems = problems or {}
        self.datasets: dict[str, Dataset] = {}
        self.model_bytes = model_bytes
        self._predictors: dict[str, dict[str, Predictor]] = {}
        for predictor in predictors:
            models = self._predictors.setdefault(predictor.checkpoint.dataset.name, {})
            models[predictor.checkpoint.model_name] = predictor
        self._recently_used: OrderedDict[Path, Predictor] = OrderedDict()
        self._memory_lock = threading.Lock()
        self._data_lock = threading.Lock()

    @classmethod
    def open(
        cls,
        root: str | Path | None = None,
        data_root: str | Path | None = None,
        model_bytes: int = limits.MODEL_BYTES,
        models: Iterable[str] = (),
    ) -> "Registry":
        """Open every checkpoint below a folder; damaged ones are left out and listed in `problems`.

        Args:
            models: other image classifiers, listed first; see `external.open_models`.

        Raises:
            MedvitError: there is no usable checkpoint and no other model, or one of these cannot be opened.
        """
        external_models = external.open_models(models)
        root = Path(root or checkpoint.DEFAULT_ROOT)
        checkpoints, problems = checkpoint.discover(root)
        checkpoints, duplicates = _without_duplicates(checkpoints)
        problems |= {str(folder.relative_to(root)): problem for folder, problem in duplicates.items()}
        if not checkpoints and not external_models:
            reasons = "".join(f" {problem}" for problem in problems.values())
            raise MedvitError(
                f"There is no checkpoint in {root.absolute()}.{reasons} Checkpoints are expected there as "
                "<subset>/<model> folders. Train one with `medvit train`, copy the folder checkpoints/ of "
                "the medvit repository there, or name another folder with --checkpoints."
            )
        checkpoints, other_pictures = pictures.of_one_dataset(checkpoints)
        predictors = [*external_models, *map(Predictor, checkpoints)]
        problems |= other_pictures
        return cls(predictors, root, medmnist.data_root(data_root), problems, model_bytes)

    @property
    def models(self) -> list[str]:
        """The models of other programs, as `open` got them."""
        items = [predictor.checkpoint for predictor in self._predictors.get(external.GROUP, {}).values()]
        return [item.given for item in items if isinstance(item, external.ExternalModel)]

    def subset_choices(self) -> list[tuple[str, str]]:
        """(title, name) of each subset with a checkpoint."""
        return [(self._first(name).dataset.title, name) for name in self._predictors]

    def dataset(self, subset: str) -> Dataset:
        """The dataset of the checkpoints under a name, or the subset of MedMNIST with this name."""
        if subset in self._predictors:
            return self._first(subset).dataset
        return self.datasets.get(subset) or medmnist.get(subset)

    def add_pictures(self, path: str) -> None:
        """Prepare one's own pictures, for the checkpoints of that name and for the Data tab."""
        name = dataset_name(path)
        self.datasets[name] = pictures.prepare(path, self._first(name) if name in self._predictors else None)

    def model_choices(self, subset: str) -> list[tuple[str, str]]:
        """(title, name) of each model of a subset."""
        return [(p.checkpoint.title, name) for name, p in self._of_subset(subset).items()]

    def has(self, subset: str, model: str) -> bool:
        """Whether there is such a checkpoint."""
        return model in self._predictors.get(subset, {})

    def checkpoint(self, subset: str, model: str) -> Checkpoint:
        """The checkpoint of a model; raises like `predictor`."""
        return self._get(subset, model).checkpoint

    def predictor(self, subset: str, model: str) -> Predictor:
        """The predictor of a checkpoint; other models may be unloaded to make room for it.

        Raises:
            MedvitError: there is none; the text names those that exist.
        """
        predictor = self._get(subset, model)
        self._make_room(predictor)
        return predictor

    def comparable(self, subset: str, model: str) -> list[Checkpoint]:
        """The models of the dataset of a model, and others whose classes have the same names."""
        classes = set(self.checkpoint(subset, model).dataset.classes)
        return [
            predictor.checkpoint
            for name, models in self._predictors.items()
            for predictor in models.values()
            if name == subset or set(predictor.checkpoint.dataset.classes) == classes
        ]

    def preload(self) -> None:
        """Load every model that fits into `model_bytes`."""
        size = 0
        for subset, models in self._predictors.items():
            for name, predictor in models.items():
                size += _weight_bytes(predictor)
                if size <= self.model_bytes:
                    self.predictor(subset, name).load()

    def _of_subset(self, subset: str) -> dict[str, Predictor]:
        if subset not in self._predictors:
            raise MedvitError(f"There is no subset {subset!r}. There are: {', '.join(self._predictors)}.")
        return self._predictors[subset]

    def _get(self, subset: str, model: str) -> Predictor:
        models = self._of_subset(subset)
        if model not in models:
            raise MedvitError(f"There is no model {model!r} for {subset}. There are: {', '.join(models)}.")
        return models[model]

    def _make_room(self, requested: Predictor) -> None:
        """Mark a model as most recently used, and unload the least recently used ones beyond the budget."""
        with self._memory_lock:
            self._recently_used[requested.checkpoint.folder] = requested
            self._recently_used.move_to_end(requested.checkpoint.folder)
            loaded = [p for p in self._recently_used.values() if p.loaded and p is not requested]
            size = sum(map(_weight_bytes, [*loaded, requested]))
            for oldest in loaded:
                if size <= self.model_bytes:
                    break
                oldest.unload()
                size -= _weight_bytes(oldest)

    def loaded_models(self) -> list[int]:
        """Bytes of the weights of each model in memory."""
        return [_weight_bytes(p) for p in list(self._recently_used.values()) if p.loaded]

    def has_data(self, subset: str) -> bool:
        """Whether the test images of a subset are on disk and readable."""
        try:
            self._test_split(subset)
        except MedvitError:
            return False
        return True

    def examples(self, subset: str) -> list[Sample]:
        """A dozen images to start with: test images spread over the classes, else synthetic examples.

        For models of other programs they are photographs.
        """
        if subset == external.GROUP:
            return photographs(subset)
        if not self.has_data(subset):
            return [
                Sample(subset, synthetic.draw(subset, i), f"synthetic example {i}", synthetic=True, index=i)
                for i in range(EXAMPLES)
            ]
        labels = self._test_split(subset)[1]
        dataset = self._first(subset).dataset
        if dataset.multi_label:
            return [self.test_sample(subset, i) for i in range(EXAMPLES)]
        by_class = [np.flatnonzero(labels == c) for c in range(len(dataset.classes))]
        indices = [
            int(members[rank]) for rank in range(EXAMPLES) for members in by_class if rank < len(members)
        ]
        return [self.test_sample(subset, i) for i in indices[:EXAMPLES]]

    def test_sample(self, subset: str, index: int) -> Sample:
        """Test image `index` with its true class.

        Raises:
            MedvitError: the archive is absent or has no such image.
        """
        images, labels = self._test_split(subset)
        if not 0 <= index < len(labels):
            raise MedvitError(
                f"The data on disk have no test image {index}: this is not the official archive."
            )
        source = as_rgb(images[index])
        truth = int(labels[index]) if labels.ndim == 1 else None
        return Sample(subset, source, f"test image {index}", truth, index=index)

    def sample(self, subset: str, index: int) -> Sample:
        """Test image `index`, or without data the example with this number.

        Raises:
            MedvitError: there is no such image.
        """
        if self.has_data(subset):
            return self.test_sample(subset, index)
        examples = self.examples(subset)
        if not 0 <= index < len(examples):
            raise MedvitError(f"There is no example {index}: they are numbered 0 to {len(examples) - 1}.")
        return examples[index]

    def test_images(self, subset: str, model: str) -> np.ndarray:
        """The images behind test.npz of a model, uint8 (N, s, s) or (N, s, s, 3).

        Raises:
            MedvitError: they are not on disk, or the archive on disk is a different one.
        """
        images, labels = self._test_split(subset)
        if not np.array_equal(labels, self.checkpoint(subset, model).test_labels):
            raise MedvitError("The archive on disk is not the one that this model was tested on.")
        return images

    def random_sample(self, subset: str) -> Sample:
        """A random test image, or a random synthetic example without data."""
        if not self.has_data(subset):
            return random.choice(self.examples(subset))  # noqa: S311
        return self.test_sample(subset, random.randrange(len(self._test_split(subset)[1])))  # noqa: S311

    def random_misclassified(self, subset: str, model: str) -> Sample:
        """A random test image that a model misclassifies; raises MedvitError if there is none, or no data."""
        tested = self.checkpoint(subset, model)
        probs = probabilities(tested.test_logits, tested.dataset.multi_label)
        wrong = selection.misclassified(probs, tested.test_labels)
        if not len(wrong):
            raise MedvitError("This model classifies every test image correctly.")
        return self.test_sample(subset, int(random.choice(wrong)))  # noqa: S311

    def open_upload(self, subset: str, model: str, path: str) -> Sample:
        """Open an uploaded picture in the form the model takes; raises MedvitError where that fails."""
        return Sample(subset, self.predictor(subset, model).read_upload(path), "your image")

    def _test_split(self, subset: str) -> tuple[np.ndarray, np.ndarray]:
        first = self._first(subset)
        if "test" not in first.card:
            raise MedvitError("There are no labelled pictures for a model that was not tested here.")
        with self._data_lock:
            return _load_test(first.dataset, first.card["source_size"], self.data_root)

    def _first(self, subset: str) -> Checkpoint:
        return next(iter(self._of_subset(subset).values())).checkpoint


def _without_duplicates(checkpoints: Iterable[Checkpoint]) -> tuple[list[Checkpoint], dict[Path, str]]:
    """The first checkpoint of each dataset and model name, and {folder: why it is left out} of the others."""
    first: dict[tuple[str, str], Checkpoint] = {}
    problems = {}
    for item in checkpoints:
        kept = first.setdefault((item.dataset.name, item.model_name), item)
        if kept is not item:
            problems[item.folder] = (
                f"The checkpoint {item.folder} is left out: its card.json names the dataset and the model "
                f"{item.model_name} as that in {kept.folder.name} does. Keep one of the two folders."
            )
    return list(first.values()), problems


def _weight_bytes(predictor: Predictor) -> int:
    return 4 * predictor.checkpoint.card["parameters"]  # float32


@cache
def _load_test(dataset: Dataset, size: int, data_root: Path) -> tuple[np.ndarray, np.ndarray]:
    return load_split(dataset, "test", size, data_root)
