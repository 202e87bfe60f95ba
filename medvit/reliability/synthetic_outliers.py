"""Synthetic outliers: drawn pictures that belong to no dataset.

The OOD reference model is trained against them, and the OOD score was chosen with others of their kind; the
pictures that test it are in `medvit.reliability.outliers`.
"""

import numpy as np
from PIL import Image, ImageDraw


def draw(count: int, seed: int, size: int = 28) -> np.ndarray:
    """Draw overlapping shapes, clouds, stripes, noise and flat colours, a third of them grey.

    Returns:
        uint8 (count, size, size, 3), the same for the same arguments.
    """
    rng = np.random.default_rng([seed, 5])
    painters = (_leaves, _leaves, _clouds, _clouds, _stripes, noise, _flat)
    pictures = np.stack([painters[i % len(painters)](rng, size) for i in range(count)])
    grey = rng.random(count) < 1 / 3
    pictures[grey] = pictures[grey].mean(-1, keepdims=True)
    return pictures.clip(0, 255).astype(np.uint8)


def recolour(images: np.ndarray, seed: int) -> np.ndarray:
    """Give images colours that their dataset does not have: permuted channels, negative, or grey.

    Args:
        images: uint8 (N, s, s, 3); grey ones always become their negative.
    """
    rng = np.random.default_rng([seed, 6])
    result = np.empty_like(images)
    for i, image in enumerate(images):
        saturated = np.ptp(image.astype(np.int16), axis=-1).mean() > 4
        kind = rng.integers(3) if saturated else 0
        if kind == 0:
            image = 255 - image
        elif kind == 1:
            image = image[..., [(1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2)][rng.integers(4)]]
        else:
            image = np.asarray(Image.fromarray(image).convert("L").convert("RGB"))
        result[i] = image
    return result


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A random colour, or, as often, a muted one."""
    if rng.random() < 0.5:
        return rng.uniform(0, 255, 3)
    return (rng.uniform(0, 255) + rng.normal(0, 25, 3)).clip(0, 255)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Overlapping discs, bars and boxes: the "dead leaves" model of natural images."""
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
    """Noise whose power falls with frequency, as in photographs, with correlated channels."""
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


def noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """White noise of a random strength, in colour or in grey: float (size, size, 3) around 0..255."""
    coarse = rng.normal(size=(size, size, 3)) if rng.random() < 0.7 else rng.normal(size=(size, size, 1))
    return _colour(rng) + coarse * rng.uniform(5, 120)


def _flat(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.broadcast_to(_colour(rng), (size, size, 3)) + rng.normal(size=(size, size, 1)) * rng.uniform(
        0, 2
    )
