"""Pictures that belong to no subset: what a check for foreign images is trained against, and tested on.

The two are kept apart. `exposure` draws abstract pictures for training and for choices. The tests use
`KINDS`: photographs (samples that come with scikit-image and scikit-learn), screenshots and text pages, none
of which training saw in any form, and noise and flat colours, which it saw in other draws.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medvit.data import synthetic
from medvit.imaging.preprocess import to_source

# Photographs of people, things and places that scikit-image and scikit-learn carry; no medical ones.
PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "brick.png", "moon.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg",
    "china.jpg", "flower.jpg",
)  # fmt: skip
WORDS = (
    "the",
    "model",
    "says",
    "that",
    "most",
    "pictures",
    "of",
    "this",
    "kind",
    "were",
    "sent",
    "by",
    "post",
)


def synthetic_outliers(count: int, seed: int, size: int = 28) -> np.ndarray:
    """Abstract pictures: overlapping shapes, clouds, stripes, noise, flat colours; a third of them grey.

    Args:
        seed: the same seed gives the same pictures.

    Returns:
        uint8 (count, size, size, 3)
    """
    rng = np.random.default_rng([seed, 5])
    painters = (_leaves, _leaves, _clouds, _clouds, _stripes, _noise, _flat)
    pictures = np.stack([painters[i % len(painters)](rng, size) for i in range(count)])
    grey = rng.random(count) < 1 / 3
    pictures[grey] = pictures[grey].mean(-1, keepdims=True)
    return pictures.clip(0, 255).astype(np.uint8)


def recolour(images: np.ndarray, seed: int) -> np.ndarray:
    """Images of a subset in colours it does not have: channels exchanged, negative, or grey.

    Args:
        images: uint8 (N, s, s, 3); a grey image only has a negative.
    """
    rng = np.random.default_rng([seed, 6])
    result = np.empty_like(images)
    for i, image in enumerate(images):
        colourful = np.ptp(image.astype(np.int16), axis=-1).mean() > 4
        kind = rng.integers(3) if colourful else 0
        if kind == 0:
            image = 255 - image
        elif kind == 1:
            image = image[..., [(1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2)][rng.integers(4)]]
        else:
            image = np.asarray(Image.fromarray(image).convert("L").convert("RGB"))
        result[i] = image
    return result


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour, or, as often, a muted one."""
    if rng.random() < 0.5:
        return rng.uniform(0, 255, 3)
    return (rng.uniform(0, 255) + rng.normal(0, 25, 3)).clip(0, 255)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Discs, bars and boxes over each other, the "dead leaves" of natural-image statistics."""
    scale = 4
    canvas = Image.new("RGB", (size * scale, size * scale), tuple(_colour(rng).astype(int)))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(2 ** rng.uniform(1, 7))):
        x, y = rng.uniform(-0.1, 1.1, 2) * size * scale
        w, h = size * scale * 0.5 * rng.uniform(0.02, 1, 2) ** 2
        draw = pen.ellipse if rng.random() < 0.4 else pen.rectangle
        draw((x - w, y - h, x + w, y + h), fill=tuple(_colour(rng).astype(int)))
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise whose power falls with frequency, as in photographs, in one or several colours."""
    fx, fy = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))
    amplitude = 1 / (np.hypot(fx, fy) + 0.5 / size) ** rng.uniform(0.3, 2)
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, size, size))) * amplitude).real
    field[1:] = field[:1] + rng.uniform(0, 1) * (field[1:] - field[:1])
    field = field.transpose(1, 2, 0) / field.std()
    return _colour(rng) + field * rng.uniform(5, 90) * rng.uniform(0.3, 1, 3)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    angle, frequency = rng.uniform(0, np.pi), 2 ** rng.uniform(-1, 3.5)
    wave = np.sin(2 * np.pi * (frequency * (np.cos(angle) * x + np.sin(angle) * y) + rng.random()))
    wave = np.sign(wave) if rng.random() < 0.5 else wave
    return _colour(rng) * (1 + wave[..., None]) / 2 + _colour(rng) * (1 - wave[..., None]) / 2


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = rng.normal(size=(size, size, 3)) if rng.random() < 0.7 else rng.normal(size=(size, size, 1))
    return _colour(rng) + coarse * rng.uniform(5, 120)


def _flat(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.broadcast_to(_colour(rng), (size, size, 3)) + rng.normal(size=(size, size, 1)) * rng.uniform(
        0, 2
    )


def photographs(count: int) -> list[Image.Image]:
    """Square crops, at least half as wide as the photograph is, mirrored or not."""
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
    import skimage.data
    import sklearn.datasets

    folders = (Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images")
    return Image.open(next(folder / name for folder in folders if (folder / name).is_file())).convert("RGB")


def text_pages(count: int) -> list[Image.Image]:
    """Printed pages and close-ups of them: dark words on light paper, or the reverse."""
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
    return [Image.fromarray(_noise(rng, 64).clip(0, 255).astype(np.uint8)) for _ in range(count)]


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
    """Pictures of a kind after the path that every upload takes: uint8 (count, size, size, 3)."""
    pictures = KINDS[kind](count)
    for picture in pictures:
        picture.thumbnail((200, 200))  # the path costs by the pixel
    return np.stack([to_source(picture, size, grey) for picture in pictures])


def near(subset: str, grey: bool, size: int = 28) -> dict[str, np.ndarray]:
    """Pictures close to a subset that are not of it, (N, s, s, 3) each: another stain or camera, phantoms.

    There are too few of them, from too few sources, to claim anything from.
    """
    pictures = {"phantoms of the subset": [Image.fromarray(synthetic.draw(subset, i)) for i in range(60)]}
    if subset in ("bloodmnist", "pathmnist"):
        slide = _photograph("ihc.png")  # immunohistochemistry of the colon, 512 pixels
        corners = [(x, y) for x in range(0, 449, 64) for y in range(0, 449, 64)]
        pictures["another stain"] = [slide.crop((x, y, x + 64, y + 64)) for x, y in corners]
    if subset == "retinamnist":
        eye = _photograph("retina.jpg")  # one fundus photograph, 1411 pixels
        side = eye.width // 20
        crops = [eye.crop((d, d, eye.width - d, eye.height - d)) for d in range(0, 3 * side, side)]
        pictures["another fundus camera"] = [
            crop.rotate(turn) for crop in crops for turn in (0, 90, 180, 270)
        ]
    return {kind: np.stack([to_source(one, size, grey) for one in every]) for kind, every in pictures.items()}
