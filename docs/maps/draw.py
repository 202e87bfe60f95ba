"""Draw the example of each explanation map in the README, on a synthetic image.

PYTHONPATH=. python docs/maps/draw.py
"""

from pathlib import Path

from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.explain import METHODS
from medvit.plots import enlarge

SUBSET, MODEL, NUMBER, SIDE = "bloodmnist", "vit_finetuned", 3, 112


def main() -> None:
    """Write image.png and one overlay for each method beside this file."""
    predictor = medvit.load(SUBSET, MODEL)
    prediction = predictor.predict(synthetic.draw(SUBSET, NUMBER))
    _save(enlarge(prediction.source), "image")
    for method in METHODS:
        _save(prediction.forward_pass.overlay(method), method)


def _save(image: Image.Image, name: str) -> None:
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).quantize(128)
    small.save(Path(__file__).with_name(f"{name}.png"), optimize=True)


if __name__ == "__main__":
    main()
