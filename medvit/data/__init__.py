"""The data sets: facts, settings, arrays, summaries and synthetic examples.

from medvit.data import load_split, medmnist
from medvit.data.folder import open_dataset

dataset = medmnist.get("bloodmnist")                # names, classes, task, settings
dataset = open_dataset("scans/")                    # one's own labelled pictures
images, labels = load_split(dataset, "train")       # uint8 (N, s, s, 3), int64 (N,)
"""

from medvit.data.arrays import class_counts, evenly_spaced, halves, stratified_sample
from medvit.data.dataset import SPLITS, Dataset, short_name
from medvit.data.lookup import how_to_get, is_on_disk, load_split, of_card, title
from medvit.pixels import as_rgb

__all__ = [
    "SPLITS", "Dataset", "as_rgb", "class_counts", "evenly_spaced", "halves", "how_to_get", "is_on_disk",
    "load_split", "of_card", "short_name", "stratified_sample", "title",
]  # fmt: skip
