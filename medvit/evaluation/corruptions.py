"""The corruptions of MedMNIST-C, for batches on any device.

Di Salvo, Doerrich, Ledig: MedMNIST-C (2024). Corruptions and severities are theirs, for images of 224 pixels.
Their ink marks are pictures; those here are drawn. Motion blur uses ImageMagick's kernel.
Every function maps float (B, 3, H, W) in 0..1 to the same shape; random ones use torch's generator.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur as _gaussian_blur

from medvit.data import settings
from medvit.imaging.jpeg import jpeg_round_trip
from medvit.imaging.preprocess import to_tensor

SIDE = 224  # pixels, for which the severities are defined


def luminance(x: Tensor) -> Tensor:
    """Grey values (B, 1, H, W), weighted as in Pillow's mode "L" (ITU-R BT.601)."""
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def pixelate(x: Tensor, factor: float) -> Tensor:
    small = F.interpolate(x, scale_factor=factor, mode="area", recompute_scale_factor=True)
    return F.interpolate(small, x.shape[-2:], mode="nearest-exact")


def jpeg_compression(x: Tensor, quality: int) -> Tensor:
    images = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return to_tensor(np.stack([jpeg_round_trip(image, quality) for image in images])).to(x) / 255


def gaussian_noise(x: Tensor, scale: float) -> Tensor:
    return x + scale * torch.randn_like(x)


def speckle_noise(x: Tensor, scale: float) -> Tensor:
    return x + x * scale * torch.randn_like(x)


def impulse_noise(x: Tensor, amount: float) -> Tensor:
    draw = torch.rand_like(x)
    return torch.where(draw < amount, (draw < amount / 2).to(x), x)


def shot_noise(x: Tensor, photons: float) -> Tensor:
    return torch.poisson(x * photons) / photons


def defocus_blur(x: Tensor, radius_and_alias: tuple[float, float]) -> Tensor:
    radius, alias = radius_and_alias
    y, z = torch.meshgrid(*[torch.arange(-8.0, 9.0)] * 2, indexing="ij")
    disc = (y**2 + z**2 <= radius**2).float()
    edge = torch.exp(-torch.tensor([1.0, 0.0, 1.0]) / (2 * alias**2))
    edge = edge / edge.sum()
    soft = F.conv2d((disc / disc.sum())[None, None], (edge[:, None] * edge)[None, None], padding=1)
    return _filter(x, soft.expand(len(x), 1, 17, 17).to(x))


def motion_blur(x: Tensor, radius_and_sigma: tuple[int, float]) -> Tensor:
    """Half a Gaussian along a random direction within 45 degrees of the horizontal, for each image."""
    radius, sigma = radius_and_sigma
    steps = torch.arange(2 * radius + 1)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    angles = (torch.rand(len(x)) - 0.5) * math.pi / 2
    kernels = torch.zeros(len(x), 1, 4 * radius + 1, 4 * radius + 1)
    rows = (2 * radius + (steps * angles.sin()[:, None]).round()).long()
    columns = (2 * radius + (steps * angles.cos()[:, None]).round()).long()
    for image in range(len(x)):
        kernels[image, 0].index_put_((rows[image], columns[image]), weights / weights.sum(), accumulate=True)
    return _filter(x, kernels.to(x))


def _filter(x: Tensor, kernels: Tensor) -> Tensor:
    """Filter each image (B, 3, H, W) with its own kernel (B, 1, k, k); the border is reflected."""
    pad = kernels.shape[-1] // 2
    padded = F.pad(x, (pad,) * 4, mode="reflect").flatten(0, 1)[None]  # (1, B * 3, ...)
    weight = kernels.repeat_interleave(x.shape[1], 0)  # (B * 3, 1, k, k)
    return F.conv2d(padded, weight, groups=weight.shape[0]).view_as(x)


def gaussian_blur(x: Tensor, kernel: int) -> Tensor:
    return _gaussian_blur(x, [kernel, kernel])


def brightness(x: Tensor, factor: float) -> Tensor:
    return x * factor


def contrast(x: Tensor, factor: float) -> Tensor:
    grey = luminance(x)[:, 0].mean((1, 2)).view(-1, 1, 1, 1)
    return grey + factor * (x - grey)


def saturate(x: Tensor, amount: float) -> Tensor:
    """Add to the saturation in HSV and keep hue and value; grey turns red, because its hue is 0."""
    value, minimum = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    span = value - minimum
    saturation = span / value.clamp(min=1e-6)
    new_saturation = (saturation + amount).clamp(0, 1)
    # The distance of each channel of pure red from its value.
    red = x.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    below = torch.where(span > 1e-6, (value - x) / span.clamp(min=1e-6), red)
    return value * (1 - new_saturation * below)


def gamma(x: Tensor, power: float) -> Tensor:
    return x**power


def stain_deposit(x: Tensor, max_count: int) -> Tensor:
    """Draw 1 to `max_count` dark, ragged marks of 25 to 60 pixels."""
    y, z = _grid(x)
    ink = torch.zeros_like(x[:, :1])
    for mark in range(max_count):
        # The first mark is always drawn, each later one less often.
        is_drawn = torch.randint(1, max_count + 1, (len(x), 1, 1, 1), device=x.device) > mark
        centre = 35 + torch.rand(2, len(x), 1, 1, 1, device=x.device) * (SIDE - 70)
        for _ in range(6):
            offset = torch.randn(2, len(x), 1, 1, 1, device=x.device) * 9
            radius = 5 + torch.rand(len(x), 1, 1, 1, device=x.device) * 11
            distance = torch.hypot(y - centre[0] - offset[0], z - centre[1] - offset[1])
            ink = torch.maximum(ink, is_drawn * (radius - distance).clamp(0, 4) / 4)
    return x * (1 - ink)


def bubble(x: Tensor, radius_and_count: tuple[int, int]) -> Tensor:
    """Draw 7 to `count` whitish discs of radius 3 to `radius`, with a brighter rim."""
    max_radius, max_count = radius_and_count
    y, z = _grid(x)
    white = torch.zeros_like(x[:, :1])
    count = torch.randint(7, max_count + 1, (len(x), 1, 1, 1), device=x.device)
    for number in range(max_count):
        radius = torch.randint(3, max_radius + 1, (len(x), 1, 1, 1), device=x.device)
        centre = radius + torch.rand(2, len(x), 1, 1, 1, device=x.device) * (SIDE - 2 * radius)
        distance = torch.hypot(y - centre[0], z - centre[1])
        is_drawn = number < count
        white = torch.where(is_drawn & (distance <= radius + 2), 130 / 255, white)
        white = torch.where(is_drawn & (distance <= radius), 100 / 255, white)
    return x * (1 - white) + white


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    height, width = x.shape[-2:]
    return (
        torch.arange(height, device=x.device).view(1, 1, -1, 1),
        torch.arange(width, device=x.device).view(1, 1, 1, -1),
    )


FUNCTIONS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    function.__name__: function
    for function in (
        pixelate, jpeg_compression, gaussian_noise, speckle_noise, impulse_noise, shot_noise, defocus_blur,
        motion_blur, gaussian_blur, brightness, contrast, saturate, gamma, stain_deposit, bubble,
    )
}  # fmt: skip


def corrupt(x: Tensor, subset: str, name: str, severity: int) -> Tensor:
    """Corrupt a batch as MedMNIST-C does for a dataset.

    Args:
        x: float (B, 3, 224, 224) in 0..1. name: a key of the dataset's `corruptions`. severity: 1 to 5.
    """
    function = FUNCTIONS[name.removesuffix("_up").removesuffix("_down")]
    return function(x, settings.of(subset).corruptions[name][severity - 1]).clamp(0, 1)
