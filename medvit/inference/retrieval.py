"""The training and test images nearest to an image by a model's own features.

Features of the training and test split are computed once per checkpoint and stored in a cache folder
($MEDVIT_CACHE, else ~/.cache/medvit), as plain arrays named by the sha256 of the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from medvit.checkpoint import Checkpoint, load_model
from medvit.data import as_rgb, cache, load_split, medmnist
from medvit.evaluation.embedding import unit
from medvit.evaluation.inference import predict
from medvit.files import atomic_file, cache_folder

MAX_IMAGES = 20_000  # indexed images per split; of a larger split, a random sample is indexed
BATCH = 128
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Neighbour:
    """An image of a split: its index there, its label or labels, its pixels, and its cosine similarity."""

    split: str
    index: int
    label: np.ndarray
    pixels: np.ndarray
    similarity: float


@dataclass(frozen=True)
class Index:
    """Features of a checkpoint over its training and test split, on disk or still to be computed."""

    checkpoint: Checkpoint
    data_root: Path

    @property
    def _folder(self) -> Path:
        """One folder per dataset; archives of the same name are told apart by their file size."""
        dataset, size = self.checkpoint.dataset, self.checkpoint.card["source_size"]
        root = cache_folder() / "similar"
        if dataset.own:
            return root / cache.folder_of(dataset).name
        archive = medmnist.archive_path(dataset.name, size, self.data_root)
        length = archive.stat().st_size if archive.is_file() else 0
        return root / f"{dataset.name}-{size}-{length}"

    def _path(self, split: str, content: str) -> Path:
        return self._folder / f"{split}-{content}.npy"

    def _features_path(self, split: str) -> Path:
        return self._path(split, self.checkpoint.card["sha256"])

    @property
    def ready(self) -> bool:
        """Whether everything has been computed."""
        return all(self._features_path(split).is_file() for split in SPLITS)

    def build(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compute the features that are not on disk yet.

        Args:
            progress: called with (images done, images in total).

        Raises:
            MedvitError: the data are absent.
        """
        model = load_model(self.checkpoint.folder)  # a copy of its own, freed afterwards
        splits = {split: self._sample(split) for split in SPLITS}
        done, total = 0, sum(len(chosen) for _, chosen in splits.values())
        for split, (images, chosen) in splits.items():
            parts = []
            for start in range(0, len(chosen), BATCH):
                pixels = images[chosen[start : start + BATCH]]
                _, features = predict(model, self.checkpoint.preprocessing, pixels)
                parts.append(features)
                done += len(features)
                progress(done, total)
            _save(self._features_path(split), unit(np.concatenate(parts)).astype(np.float16))

    def _sample(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All images, and the indices of the indexed ones, which are the same for every model.

        Indices and labels are saved, and pixels where they would have to be unpacked again.
        """
        dataset, size = self.checkpoint.dataset, self.checkpoint.card["source_size"]
        images, labels = load_split(dataset, split, size, self.data_root)
        chosen = np.arange(len(images))
        if len(images) > MAX_IMAGES:
            chosen = np.sort(np.random.default_rng(0).choice(len(images), MAX_IMAGES, replace=False))
        contents = {"index": chosen, "labels": labels[chosen]}
        if not dataset.own:
            contents["pixels"] = images[chosen]
        for content, array in contents.items():
            if not self._path(split, content).is_file():
                _save(self._path(split, content), array)
        return images, chosen

    def size(self, split: str) -> int:
        """Number of indexed images of a split."""
        return len(_load(self._path(split, "index")))

    def nearest(
        self, features: np.ndarray, split: str, count: int = 8, exclude: np.ndarray | None = None
    ) -> list[Neighbour]:
        """Return the images nearest to a feature vector (D,), nearest first.

        Args:
            count: maximum number of images.
            exclude: pixels, uint8 (s, s, 3), of an image to leave out, such as the query image.
        """
        cosines = _load_features(self._features_path(split)) @ unit(features.astype(np.float32))
        indices, labels = (_load(self._path(split, name)) for name in ("index", "labels"))
        if self.checkpoint.dataset.own:
            images, rows = load_split(self.checkpoint.dataset, split)[0], indices
        else:
            images, rows = _load(self._path(split, "pixels")), np.arange(len(indices))
        candidates = min(count + 8, len(cosines))  # a few more, as some may be excluded
        order = np.argpartition(-cosines, candidates - 1)[:candidates]
        neighbours = []
        for i in order[np.argsort(-cosines[order])]:
            pixels = np.array(images[rows[i]])
            rgb = as_rgb(pixels)
            if exclude is None or not np.array_equal(rgb, exclude):
                neighbours.append(Neighbour(split, int(indices[i]), labels[i], pixels, float(cosines[i])))
        return neighbours[:count]


def _load(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


@lru_cache(4)  # 20 MB at most each; float32, as its matrix products are fast
def _load_features(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False).astype(np.float32)


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)
