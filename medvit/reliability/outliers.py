"""Pictures that belong to no dataset: those that the OOD score was chosen with, and those that test it.

The two are kept apart. `validation_outliers` uses drawings and validation images. `KINDS`, which test, are
photographs (samples of scikit-image and scikit-learn), screenshots and text pages, of which the training of
the OOD reference model has seen none, and noise and flat colours, of which it has seen other draws.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medvit.data import Dataset, as_rgb, is_on_disk, load_split, medmnist, stratified_sample, synthetic
from medvit.imaging.preprocess import to_source
from medvit.reliability import synthetic_outliers
from medvit.slow_imports import skimage_data, sklearn_datasets

VALIDATION_OUTLIERS = 150  # images of a kind
# Photographs of people, things and places that scikit-image and scikit-learn carry; no medical ones.
PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "brick.png", "moon.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg",
    "china.jpg", "flower.jpg",
)  # fmt: skip
WORDS = (
    "the", "model", "says", "that", "most", "pictures", "of", "this", "kind", "were", "sent", "by", "post",
)  # fmt: skip


def photographs(count: int) -> list[Image.Image]:
    """Random square crops of at least half the photograph's shorter side, mirrored or not."""
    rng = np.random.default_rng(1)
    result = []
    for i in range(count):
        image = _photograph(PHOTOGRAPHS[i % len(PHOTOGRAPHS)])
        side = int(min(image.size) * rng.uniform(0.5, 1))
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        crop = image.crop((left, top, left + side, top + side))
        result.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)
    return result


@cache
def _photograph(name: str) -> Image.Image:
    folders = (Path(skimage_data.__file__).parent, Path(sklearn_datasets.__file__).parent / "images")
    return Image.open(next(folder / name for folder in folders if (folder / name).is_file())).convert("RGB")


def text_pages(count: int) -> list[Image.Image]:
    """Printed pages and close-ups of them: dark words on light paper, or light on dark."""
    rng = np.random.default_rng(2)
    result = []
    for _ in range(count):
        light, dark = int(rng.integers(215, 256)), int(rng.integers(0, 70))
        paper, ink = (dark, light) if rng.random() < 0.15 else (light, dark)
        page = Image.new("RGB", (448, 448), (paper,) * 3)
        pen, size = ImageDraw.Draw(page), int(rng.integers(9, 60))
        font, margin = ImageFont.load_default(size), int(rng.integers(5, 60))
        for y in range(margin, 448 - margin, int(size * rng.uniform(1.2, 1.8))):
            line = " ".join(rng.choice(WORDS, 16))
            pen.text(
                (margin, y),
                line[: int(rng.uniform(0.7, 1) * (448 - 2 * margin) / size * 2)],
                (ink,) * 3,
                font,
            )
        result.append(page)
    return result


def screenshots(count: int) -> list[Image.Image]:
    """Windows with a title bar, a menu, boxes, a table or a chart, and words, in light and dark themes."""
    rng = np.random.default_rng(3)
    result = []
    for _ in range(count):
        dark = rng.random() < 0.4
        ground, ink = (int(rng.integers(15, 50)), 220) if dark else (int(rng.integers(235, 256)), 40)
        accent = tuple(int(v) for v in rng.integers(30, 230, 3))
        shot = Image.new("RGB", (640, 480), (ground,) * 3)
        pen, font = ImageDraw.Draw(shot), ImageFont.load_default(int(rng.integers(12, 20)))
        pen.rectangle((0, 0, 640, 36), fill=accent)
        side = int(rng.integers(0, 200))
        pen.rectangle((0, 36, side, 480), fill=(abs(ground - 20),) * 3)
        for y in range(50, 470, 30):
            if side > 80:
                pen.text((14, y), str(rng.choice(WORDS)), (ink,) * 3, font)
        for _ in range(rng.integers(2, 6)):
            x, y = int(rng.integers(side + 10, 520)), int(rng.integers(45, 400))
            w, h = int(rng.integers(80, 300)), int(rng.integers(40, 220))
            pen.rectangle((x, y, x + w, y + h), outline=(128,) * 3, fill=(min(255, ground + 12),) * 3)
            if rng.random() < 0.5:
                for bar in range(6):
                    top = y + int(h * rng.random())
                    pen.rectangle((x + bar * w / 6 + 3, top, x + (bar + 1) * w / 6 - 3, y + h), fill=accent)
            else:
                for row in range(y + 6, y + h - 14, 20):
                    pen.text((x + 8, row), " ".join(rng.choice(WORDS, 4)), (ink,) * 3, font)
        result.append(shot)
    return result


def noise(count: int) -> list[Image.Image]:
    """White noise of several strengths, in colour and in grey."""
    rng = np.random.default_rng(4)
    return [
        Image.fromarray(synthetic_outliers.noise(rng, 64).clip(0, 255).astype(np.uint8)) for _ in range(count)
    ]


def flat_colours(count: int) -> list[Image.Image]:
    """One colour each, black and white among them."""
    rng = np.random.default_rng(7)
    colours = [(0, 0, 0), (255, 255, 255), *(tuple(rng.integers(0, 256, 3).tolist()) for _ in range(count))]
    return [Image.new("RGB", (64, 64), colour) for colour in colours[:count]]


KINDS: dict[str, Callable[[int], list[Image.Image]]] = {
    "photographs": photographs,
    "screenshots": screenshots,
    "text pages": text_pages,
    "noise": noise,
    "flat colours": flat_colours,
}


@cache
def draw(kind: str, count: int, grey: bool, size: int = 28) -> np.ndarray:
    """Pictures of a kind, converted as uploads are: uint8 (count, size, size, 3)."""
    pictures = KINDS[kind](count)
    for picture in pictures:
        picture.thumbnail((200, 200))  # the conversion takes time by the pixel
    return np.stack([to_source(picture, size, grey) for picture in pictures])


def near_ood(subset: str, grey: bool, size: int = 28) -> dict[str, np.ndarray]:
    """Near-OOD pictures, close to a dataset but not of it: {kind: (N, s, s, 3)}.

    Another stain or camera, and synthetic examples; too few, from too few sources, to support a claim.
    """
    pictures = {"synthetic examples": [Image.fromarray(synthetic.draw(subset, i)) for i in range(60)]}
    if subset in ("bloodmnist", "pathmnist"):
        slide = _photograph("ihc.png")  # immunohistochemistry of the colon, 512 pixels
        corners = [(x, y) for x in range(0, 449, 64) for y in range(0, 449, 64)]
        pictures["another stain"] = [slide.crop((x, y, x + 64, y + 64)) for x, y in corners]
    if subset == "retinamnist":
        eye = _photograph("retina.jpg")  # one fundus photograph, 1411 pixels
        side = eye.width // 20
        crops = [eye.crop((d, d, eye.width - d, eye.height - d)) for d in range(0, 3 * side, side)]
        angles = (0, 90, 180, 270)
        pictures["another fundus camera"] = [crop.rotate(angle) for crop in crops for angle in angles]
    return {
        kind: np.stack([to_source(image, size, grey) for image in images])
        for kind, images in pictures.items()
    }


def other_datasets(
    dataset: Dataset, split: str, size: int, data_root: str | Path | None, count: int
) -> dict[str, np.ndarray]:
    """Images (count, s, s, 3) of each other shipped dataset that is on disk, grey where `dataset` is."""
    result = {}
    for name in medmnist.MAIN:
        if name != dataset.name and is_on_disk(medmnist.get(name), size, data_root):
            images, labels = medmnist.load_split(name, split, size, data_root)
            result[name] = as_rgb(images[stratified_sample(labels, count)], dataset.channels == 1)
    return result


def validation_outliers(
    dataset: Dataset, size: int = 28, data_root: str | Path | None = None
) -> dict[str, np.ndarray]:
    """Outliers of a dataset without any test image: {kind: (N, s, s, 3)}.

    Validation images of the other datasets, where they are on disk; drawings; synthetic examples of other
    datasets; and drawings blended half and half with the dataset's own validation images, which are the
    hardest to tell from it.
    """
    grey, count = dataset.channels == 1, VALIDATION_OUTLIERS
    outliers = other_datasets(dataset, "val", size, data_root, count)
    outliers["drawings"] = synthetic_outliers.draw(2 * count, seed=2, size=size)
    if size == synthetic.SIDE:
        names = [name for name in medmnist.names() if name != dataset.name]
        examples = [synthetic.draw(names[i % len(names)], 10_000 + i) for i in range(count)]
        outliers["synthetic examples"] = np.stack(examples)
    outliers = {kind: as_rgb(images, grey) for kind, images in outliers.items()}
    images, labels = load_split(dataset, "val", size, data_root)
    own = as_rgb(images[stratified_sample(labels, count)], grey).astype(np.float32)
    outliers["blends"] = ((own + outliers["drawings"][: len(own)]) / 2).astype(np.uint8)
    return outliers
