"""The data sets: facts, settings, arrays, summaries and synthetic examples.

from medvit.data import medmnist

dataset = medmnist.get("bloodmnist")                          # names, classes, task, settings
images, labels = medmnist.load_split("bloodmnist", "train")   # uint8 (N, 28, 28, 3), int64 (N,)
"""

from medvit.data.arrays import as_rgb, class_counts, stratified_sample
from medvit.data.dataset import SPLITS, Dataset, short_name

__all__ = ["SPLITS", "Dataset", "as_rgb", "class_counts", "short_name", "stratified_sample"]
