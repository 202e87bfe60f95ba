"""The training and test images nearest to an image by a model's own features.

Features of the training and test split are computed once for each checkpoint and kept in a cache folder
($MEDVIT_CACHE, else ~/.cache/medvit), as plain arrays named by the sha256 of the weights.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.data import medmnist
from medvit.evaluation.embedding import unit
from medvit.evaluation.inference import predict
from medvit.files import atomic_file

MOST = 20_000  # images of a split that are looked at: a random draw of a larger one
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

    found: Checkpoint
    data_root: Path

    @property
    def _folder(self) -> Path:
        """One folder for each archive: another archive under the same name has another size."""
        name, size = self.found.subset.name, self.found.card["source_size"]
        archive = medmnist.archive_path(name, size, self.data_root)
        length = archive.stat().st_size if archive.is_file() else 0
        root = Path(os.environ.get("MEDVIT_CACHE") or Path.home() / ".cache" / "medvit")
        return root / "similar" / f"{name}-{size}-{length}"

    def _path(self, split: str, what: str) -> Path:
        return self._folder / f"{split}-{what}.npy"

    def _vectors(self, split: str) -> Path:
        return self._path(split, self.found.card["sha256"])

    @property
    def ready(self) -> bool:
        """Whether everything has been computed."""
        return all(self._vectors(split).is_file() for split in SPLITS)

    def build(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Compute what is not on disk yet.

        Args:
            progress: called with (images done, images in all).

        Raises:
            MedvitError: the data are absent.
        """
        model = checkpoint.load_model(self.found.folder)  # one of its own, which goes when this is done
        splits = {split: self._draw(split) for split in SPLITS}
        done, total = 0, sum(len(pixels) for pixels in splits.values())
        for split, pixels in splits.items():
            parts = []
            for start in range(0, len(pixels), BATCH):
                _, features = predict(model, self.found.preprocessing, pixels[start : start + BATCH])
                parts.append(features)
                done += len(features)
                progress(done, total)
            _write(self._vectors(split), unit(np.concatenate(parts)).astype(np.float16))

    def _draw(self, split: str) -> np.ndarray:
        """The pixels of the images looked at, the same ones for every model; kept for later beside labels."""
        size = self.found.card["source_size"]
        images, labels = medmnist.load_split(self.found.subset.name, split, size, self.data_root)
        chosen = np.arange(len(images))
        if len(images) > MOST:
            chosen = np.sort(np.random.default_rng(0).choice(len(images), MOST, replace=False))
        for what, array in (("index", chosen), ("labels", labels[chosen]), ("pixels", images[chosen])):
            if not self._path(split, what).is_file():
                _write(self._path(split, what), array)
        return images[chosen]

    def size(self, split: str) -> int:
        """How many images of a split are looked at."""
        return len(_read(self._path(split, "index")))

    def nearest(
        self, vector: np.ndarray, split: str, count: int = 8, but: np.ndarray | None = None
    ) -> list[Neighbour]:
        """The images nearest to a feature vector (D,), nearest first.

        Args:
            count: how many at most.
            but: pixels, uint8 (s, s, 3), of an image to leave out, such as the one asked about.
        """
        cosines = _read_vectors(self._vectors(split)) @ unit(vector.astype(np.float32))
        indices, labels, pixels = (_read(self._path(split, what)) for what in ("index", "labels", "pixels"))
        few = min(count + 8, len(cosines))  # a few more, as some may be left out
        order = np.argpartition(-cosines, few - 1)[:few]
        kept = []
        for i in order[np.argsort(-cosines[order])]:
            picture = np.array(pixels[i])
            colour = np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture
            if but is None or not np.array_equal(colour, but):
                kept.append(Neighbour(split, int(indices[i]), labels[i], picture, float(cosines[i])))
        return kept[:count]


def _read(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


@lru_cache(4)  # as float32, which has fast products: 20 MB at most each
def _read_vectors(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False).astype(np.float32)


def _write(path: Path, array: np.ndarray) -> None:
    """Write an array, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)
