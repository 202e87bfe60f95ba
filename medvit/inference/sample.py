"""An image to classify, and photographs to try a model on that brings no pictures along."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from medvit import imaging
from medvit.slow_imports import skimage_data

PIXELS = 480  # longest side
PHOTOGRAPHS = {
    "chelsea.png": "a cat",
    "coffee.png": "a cup of coffee",
    "astronaut.png": "an astronaut",
    "rocket.jpg": "a rocket",
    "coins.png": "coins",
    "motorcycle_left.png": "a motorcycle",
    "ihc.png": "stained tissue",
    "retina.jpg": "a retina",
    "hubble_deep_field.jpg": "galaxies",
    "moon.png": "the surface of the moon",
}


@dataclass(frozen=True)
class Sample:
    """An image to classify, its origin, and the true class where known.

    `source`: source pixels, uint8 (s, s, 3), or a picture that `Predictor.source` takes: a model of another
    program sees the whole picture.

    `synthetic`: a drawn placeholder, not data. `index`: its number in the test split, or among the synthetic
    examples; None for an upload.
    """

    subset: str
    source: np.ndarray | bytes
    origin: str
    truth: int | None = None
    synthetic: bool = False
    index: int | None = None


@cache
def photographs(subset: str) -> list[Sample]:
    """The photographs that come with scikit-image, reduced to PIXELS: examples for a model that comes
    without pictures."""
    folder = Path(skimage_data.__file__).parent
    samples = []
    for i, (file, origin) in enumerate(PHOTOGRAPHS.items()):
        if (folder / file).is_file():
            image = imaging.open_image(folder / file)
            image.thumbnail((PIXELS, PIXELS))
            samples.append(Sample(subset, np.asarray(image), f"example picture: {origin}", index=i))
    return samples
