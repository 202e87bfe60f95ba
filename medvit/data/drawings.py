"""Procedural drawings of medical images, for synthetic examples.

Each public function draws one random image, float (28, 28, 3) in about 0..1.
"""

import numpy as np

SIDE = 28
_Y, _X = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1  # -1..1


def _ellipse(x: float, y: float, radius: float, softness: float = 0.08, stretch: float = 1.0) -> np.ndarray:
    """A mask (28, 28, 1) with soft edges, 1 inside an ellipse and 0 outside."""
    distance = np.hypot((_X - x) / stretch, _Y - y)
    return (1 / (1 + np.exp((distance - radius) / softness * 2)))[..., None]


def _paint(image: np.ndarray, colour: tuple[float, float, float], mask: np.ndarray) -> np.ndarray:
    return image * (1 - mask) + np.array(colour) * mask


def _background(colour: tuple[float, float, float]) -> np.ndarray:
    return np.broadcast_to(np.array(colour), (SIDE, SIDE, 3)).copy()


def blood(rng: np.random.Generator) -> np.ndarray:
    """Draw a stained blood cell with one to three nuclei between red cells."""
    image = _background((0.98, 0.87, 0.82))
    for _ in range(5):
        angle = rng.uniform(0, 2 * np.pi)
        image = _paint(image, (0.90, 0.68, 0.66), _ellipse(1.05 * np.cos(angle), 1.05 * np.sin(angle), 0.33))
    image = _paint(image, (0.80, 0.66, 0.80), _ellipse(0, 0, rng.uniform(0.5, 0.65)))
    for _ in range(rng.integers(1, 4)):
        x, y = rng.normal(0, 0.17, 2)
        image = _paint(image, (0.44, 0.22, 0.55), _ellipse(x, y, rng.uniform(0.2, 0.3)))
    return image


def tissue(rng: np.random.Generator) -> np.ndarray:
    """Draw pink tissue with dark nuclei, as in a stained slide."""
    waves = sum(
        np.sin(rng.uniform(2, 6) * (np.cos(a) * _X + np.sin(a) * _Y) + a) for a in rng.uniform(0, 6, 4)
    )
    image = _paint(
        _background((0.93, 0.80, 0.88)), (0.80, 0.52, 0.72), (0.5 + waves / 8)[..., None].clip(0, 1)
    )
    for _ in range(rng.integers(5, 30)):
        image = _paint(
            image,
            (0.38, 0.22, 0.55),
            _ellipse(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.06, 0.1), 0.04),
        )
    return image


def fundus(rng: np.random.Generator) -> np.ndarray:
    """Draw the back of an eye with vessels, bright spots and the optic disc."""
    image = _paint(_background((0.02, 0.02, 0.02)), (0.70, 0.34, 0.14), _ellipse(0, 0, 0.95, 0.05))
    side = rng.choice([-1, 1])
    for bend in rng.uniform(-1.2, 1.2, 5):
        vessel = np.abs(_Y - bend * (_X - 0.5 * side) ** 2 * 0.6 - 0.1 * bend) < 0.04
        image = _paint(image, (0.48, 0.14, 0.08), (vessel[..., None] & (image[..., :1] > 0.3)) * 0.7)
    for _ in range(rng.integers(0, 6)):
        image = _paint(
            image, (0.92, 0.75, 0.35), _ellipse(rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), 0.05, 0.03)
        )
    return _paint(image, (0.98, 0.82, 0.50), _ellipse(0.5 * side, 0, 0.16))


def speckle(rng: np.random.Generator) -> np.ndarray:
    """Draw a dark lesion in grey layers with noise, as in an ultrasound image."""
    tissue = 0.45 + 0.15 * np.sin(6 * _Y + rng.uniform(0, 6)) + rng.normal(0, 0.10, (SIDE, SIDE))
    x, y = rng.uniform(-0.25, 0.25, 2)
    lesion = _ellipse(x, y, rng.uniform(0.25, 0.45), 0.10, rng.uniform(1.0, 1.6))
    return np.repeat(tissue[..., None] * (1 - 0.8 * lesion), 3, axis=2)


def chest(rng: np.random.Generator) -> np.ndarray:
    """Draw a chest X-ray: two lungs with opacities, ribs and the spine."""
    image = _paint(_background((0.15,) * 3), (0.72,) * 3, _ellipse(0, 0.2, 0.95, 0.10))
    for side in (-1, 1):
        image = _paint(image, (0.28,) * 3, _ellipse(0.45 * side, 0.05, 0.55, 0.10, 0.55))
        haze = _ellipse(0.45 * side, rng.uniform(-0.2, 0.5), rng.uniform(0.1, 0.3), 0.15)
        image = _paint(image, (0.60,) * 3, haze * rng.uniform(0, 0.8))
    ribs = 0.05 * np.sin(18 * _Y + 4 * np.abs(_X))[..., None]
    return _paint(image + ribs, (0.85,) * 3, _ellipse(0, 0.3, 0.75, 0.08, 0.16))
