"""Images for the screen: enlarged source images, and heatmaps over them."""

import base64
import io
from functools import cache

import numpy as np
from PIL import Image

from medvit.slow_imports import matplotlib

DISPLAY_SIDE = 336  # pixels; twelve for each of 28


def enlarge(source: np.ndarray, side: int = DISPLAY_SIDE) -> Image.Image:
    """Return source pixels, uint8 (h, w, 3), as an image whose longer side is `side`, with sharp pixels."""
    factor = side / max(source.shape[:2])
    size = round(source.shape[1] * factor), round(source.shape[0] * factor)
    return Image.fromarray(source).resize(size, Image.Resampling.NEAREST)


def overlay(
    source: np.ndarray, values: np.ndarray, opacity: float = 0.5, side: int = DISPLAY_SIDE
) -> Image.Image:
    """Blend a heatmap (gh, gw), smoothly enlarged, with source pixels, uint8 (h, w, 3).

    Args:
        values: scaled as by `explain.scale`. If any value is negative, the colours diverge from grey: blue is
            evidence against the class, red for it. Otherwise they go from black to yellow.
    """
    image = enlarge(source, side)
    smooth = Image.fromarray(values.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    return Image.blend(image, apply_colormap(np.asarray(smooth), signed=values.min() < 0), opacity)


def apply_colormap(values: np.ndarray, signed: bool = False) -> Image.Image:
    """Return a heatmap (h, w) as an image of as many pixels, coloured for colour-blind readers too.

    Args:
        values: 0..1, for the colour map inferno; where signed -1..1, for coolwarm.
    """
    unsigned = (values + 1) / 2 if signed else values
    colours = _colormap("coolwarm" if signed else "inferno")
    return Image.fromarray(colours[np.uint8(unsigned.clip(0, 1) * 255)])


@cache
def _colormap(name: str) -> np.ndarray:
    """The colours of a matplotlib colour map, uint8 (256, 3)."""
    return matplotlib.colormaps[name](range(256), bytes=True)[:, :3]


def data_url(image: np.ndarray | Image.Image) -> str:
    """Return an image, uint8 (H, W, 3), as the ``data:`` URL of a PNG."""
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, "PNG", compress_level=1)  # four times as fast as by default, and a third larger
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
