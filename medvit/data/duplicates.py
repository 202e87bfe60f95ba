"""Find pictures that are in more than one split, exactly or nearly: the test metrics would be too good.

Exact duplicates have the same pixels at source size (sha256). Near duplicates have almost the same perceptual
hash (`imagehash`, optional), as after saving as JPEG, resizing, or a small change of brightness.
"""

import importlib.util
import json
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from PIL import Image
from tqdm import tqdm

from medvit.data.cache import folder_of, load_hashes, load_names, load_split
from medvit.data.dataset import SPLITS, Dataset
from medvit.files import atomic_file
from medvit.slow_imports import imagehash
from medvit.text import few

PAIRS = ("exact", "near", "contradictory")
HASH_SIDE = 16  # a perceptual hash has 256 bits; 64 are too few for medical images, which look alike
# Bits by which near duplicates differ at most. In 6,880 images of five MedMNIST subsets, all pairs within 18
# bits are alike (correlation of the pixels from .98), and the first unlike pair is 20 bits apart.
MAX_DISTANCE = 16
MAX_PAIRS = 1000  # near duplicates of two splits that are listed
BLOCK = 512  # pictures compared with all others at a time


@dataclass(frozen=True)
class Duplicates:
    """Pairs of pictures of different splits, "<split>: <file name>", and pictures with two labels.

    `exact`, `near`: the pairs; near ones without exact ones. `contradictory`: pairs of any splits with the
    same pixels and different classes. `near_checked`: whether the library for near duplicates is installed.
    """

    exact: list[tuple[str, str]]
    near: list[tuple[str, str]]
    contradictory: list[tuple[str, str]]
    near_checked: bool

    def sentences(self) -> list[str]:
        """Return what was found, a sentence each; nothing where there are no duplicates."""
        sentences = []
        if self.exact:
            sentences.append(
                f"{_pairs(self.exact)} in two splits have equal pixels: {_few_pairs(self.exact)}."
            )
        if self.near:
            sentences.append(
                f"{_pairs(self.near)} in two splits are nearly the same: {_few_pairs(self.near)}."
            )
        if self.exact or self.near:
            sentences.append(
                "The test results will be too good: remove them, or give them one group in metadata.csv."
            )
        if self.contradictory:
            sentences.append(
                f"{_pairs(self.contradictory)} have the same pixels and different labels: "
                f"{_few_pairs(self.contradictory)}."
            )
        if not self.near_checked:
            sentences.append("Near duplicates were not looked for: that needs `pip install imagehash`.")
        return sentences


def find(dataset: Dataset) -> Duplicates:
    """Compare the prepared pictures of all splits; the result is kept beside them."""
    path = folder_of(dataset) / "duplicates.json"
    checked = importlib.util.find_spec("imagehash") is not None
    try:
        kept = json.loads(path.read_text())
        if kept.pop("near_checked") == checked:
            pairs = {name: [(first, second) for first, second in kept[name]] for name in PAIRS}
            return Duplicates(**pairs, near_checked=checked)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    duplicates = _compare(dataset, checked)
    with atomic_file(path, "w") as file:
        json.dump(asdict(duplicates), file)
    return duplicates


def _compare(dataset: Dataset, checked: bool) -> Duplicates:
    names = load_names(dataset)
    labels = {split: load_split(dataset, split)[1] for split in SPLITS}
    exact, contradictory = _find_exact(dataset, names, labels)
    near: list[tuple[str, str]] = []
    if checked:
        hashes = {split: _perceptual_hashes(load_split(dataset, split)[0], split) for split in SPLITS}
        for first, other in combinations(SPLITS, 2):
            near += [
                (f"{first}: {names[first][i]}", f"{other}: {names[other][j]}")
                for i, j in near_pairs(hashes[first], hashes[other])
            ]
    known = set(exact)
    return Duplicates(exact, [pair for pair in near if pair not in known], contradictory, checked)


def _find_exact(
    dataset: Dataset, names: dict[str, list[str]], labels: dict[str, np.ndarray]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of pictures with the same pixels: in different splits, and with different labels."""
    places: dict[bytes, list[tuple[str, int]]] = {}
    for split in SPLITS:
        for i, digest in enumerate(load_hashes(dataset, split)):
            places.setdefault(digest.tobytes(), []).append((split, i))
    exact, contradictory = [], []
    for (first, i), *others in places.values():
        for split, j in others:
            pair = (f"{first}: {names[first][i]}", f"{split}: {names[split][j]}")
            if split != first:
                exact.append(pair)
            if labels[split][j] != labels[first][i]:
                contradictory.append(pair)
    return exact, contradictory


def near_pairs(hashes: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Return index pairs of hashes, uint64 (N, k) and (M, k), within MAX_DISTANCE bits; at most MAX_PAIRS."""
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), BLOCK):
        distance = np.zeros((len(hashes[start : start + BLOCK]), len(others)), np.uint16)
        for word in range(hashes.shape[1]):
            distance += np.bitwise_count(hashes[start : start + BLOCK, None, word] ^ others[None, :, word])
        near = np.argwhere(distance <= MAX_DISTANCE)[: MAX_PAIRS - len(pairs)]
        pairs += [(start + int(i), int(j)) for i, j in near]
        if len(pairs) == MAX_PAIRS:
            break
    return pairs


def _perceptual_hashes(images: np.ndarray, split: str) -> np.ndarray:
    """Perceptual hashes of images, uint8 (N, s, s) or (N, s, s, 3), as uint64 (N, 4)."""
    bits = np.zeros((len(images), HASH_SIDE**2), bool)
    progress = tqdm(images, f"comparing {split}", leave=False, disable=None, unit="picture")
    for i, pixels in enumerate(progress):
        bits[i] = imagehash.phash(Image.fromarray(pixels), HASH_SIDE).hash.reshape(-1)
    return np.packbits(bits, axis=1).view(np.uint64).reshape(len(images), -1)


def _pairs(pairs: list[tuple[str, str]]) -> str:
    more = " or more" if len(pairs) >= MAX_PAIRS else ""
    return f"{len(pairs):,}{more} pair{'s' * (len(pairs) > 1)} of pictures"


def _few_pairs(pairs: list[tuple[str, str]]) -> str:
    return few([f"{first} = {second}" for first, second in pairs], 2)
