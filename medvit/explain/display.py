"""Heatmaps for readers: scaled, laid over the picture, and in words."""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medvit.slow_imports import matplotlib

DISPLAY_SIDE = 336  # pixels; twelve for each of 28


def scale(values: np.ndarray, signed: bool = False) -> np.ndarray:
    """Scale a map to 0..1, or where signed to -1..1 with zero kept; a constant map to zeros."""
    if signed:
        peak = np.abs(values).max()
        return values / peak if peak > 0 else np.zeros_like(values)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def describe(values: np.ndarray) -> str:
    """Describe in words where the mass of a map (gh, gw) lies, as a text alternative."""
    values = np.clip(values, 0, None)
    total = float(values.sum())
    if total == 0 or np.ptp(values) == 0:
        return "The map is flat: no part stands out."
    rows, columns = np.indices(values.shape)
    y, x = (
        (axis * values).sum() / total / (side - 1) if side > 1 else 0.5
        for axis, side in zip((rows, columns), values.shape, strict=True)
    )
    vertical = "upper" if y < 0.42 else "lower" if y > 0.58 else ""
    horizontal = "left" if x < 0.42 else "right" if x > 0.58 else ""
    place = " ".join(filter(None, (vertical, horizontal, "part"))) if vertical or horizontal else "centre"
    cumulative = np.sort(values.ravel())[::-1].cumsum() / total
    fraction = (int((cumulative < 0.5).sum()) + 1) / values.size
    return f"The weight of the map lies in the {place}; half of it falls on {fraction:.0%} of the image."


def to_picture(pixels: Tensor) -> np.ndarray:
    """Pixels (3, H, W) in 0..255 to uint8 (H, W, 3); values outside that range are scaled into it."""
    pixels = pixels.detach().float().cpu()
    if pixels.min() < -1 or pixels.max() > 256:  # a prepared tensor of unknown mean and std
        pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255
    return pixels.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def enlarge(source: np.ndarray, side: int = DISPLAY_SIDE) -> Image.Image:
    """Return source pixels, uint8 (h, w, 3), as an image whose longer side is `side`, with sharp pixels."""
    factor = side / max(source.shape[:2])
    size = round(source.shape[1] * factor), round(source.shape[0] * factor)
    return Image.fromarray(source).resize(size, Image.Resampling.NEAREST)


def overlay(
    source: np.ndarray,
    values: np.ndarray,
    opacity: float = 0.5,
    side: int = DISPLAY_SIDE,
    by_value: bool = False,
) -> Image.Image:
    """Blend a heatmap (gh, gw), smoothly enlarged, with source pixels, uint8 (h, w, 3).

    Args:
        values: scaled as by `scale`. If any value is negative, the colours diverge from grey: blue is
            evidence against the class, red for it. Otherwise they go from black to yellow.
        by_value: make the heatmap transparent where its values are near zero; `opacity` is that of its peak.
    """
    image = enlarge(source, side)
    heatmap = Image.fromarray(values.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    smooth = np.asarray(heatmap)
    colours = apply_colormap(smooth, signed=values.min() < 0)
    if not by_value:
        return Image.blend(image, colours, opacity)
    alpha = np.uint8(np.abs(smooth).clip(0, 1) * opacity * 255)
    return Image.composite(colours, image, Image.fromarray(alpha))


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
