"""The corruptions of MedMNIST-C, a batch at a time, on the device where it lies.

Di Salvo, Doerrich, Ledig: MedMNIST-C (2024). Families and severities are theirs, of images of 224 pixels.
Their ink marks are pictures; the marks here are drawn. Motion blur follows ImageMagick's kernel.
Every function takes and gives float (B, 3, H, W) in 0..1; random ones draw from torch's generator.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg
from torchvision.transforms.functional import gaussian_blur as _gaussian_blur

SIDE = 224  # pixels, which the severities are meant for


def pixelate(x: Tensor, factor: float) -> Tensor:
    small = F.interpolate(x, scale_factor=factor, mode="area", recompute_scale_factor=True)
    return F.interpolate(small, x.shape[-2:], mode="nearest-exact")


def jpeg_compression(x: Tensor, quality: int) -> Tensor:
    coded = encode_jpeg(list((x * 255).round().to(torch.uint8).cpu()), quality)
    return torch.stack([decode_jpeg(one) for one in coded]).to(x) / 255


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
    """Half a Gaussian along a direction within 45 degrees of the horizontal, drawn for each image."""
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
    """Each image (B, 3, H, W) with its own kernel (B, 1, k, k), the border mirrored."""
    pad = kernels.shape[-1] // 2
    wide = F.pad(x, (pad,) * 4, mode="reflect").flatten(0, 1)[None]  # (1, B * 3, ...)
    weight = kernels.repeat_interleave(x.shape[1], 0)  # (B * 3, 1, k, k)
    return F.conv2d(wide, weight, groups=weight.shape[0]).view_as(x)


def gaussian_blur(x: Tensor, kernel: int) -> Tensor:
    return _gaussian_blur(x, [kernel, kernel])


def brightness(x: Tensor, factor: float) -> Tensor:
    return x * factor


def contrast(x: Tensor, factor: float) -> Tensor:
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1).mean((1, 2)).view(-1, 1, 1, 1)
    return grey + factor * (x - grey)


def saturate(x: Tensor, amount: float) -> Tensor:
    """Add to the saturation of HSV; hue and value stay, and grey turns red, which is its hue there."""
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    span = value - least
    saturation = span / value.clamp(min=1e-6)
    more = (saturation + amount).clamp(0, 1)
    # How far each channel of pure red lies below its value.
    red = x.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    below = torch.where(span > 1e-6, (value - x) / span.clamp(min=1e-6), red)
    return value * (1 - more * below)


def gamma(x: Tensor, power: float) -> Tensor:
    return x**power


def stain_deposit(x: Tensor, most: int) -> Tensor:
    """One to `most` dark, ragged marks of 25 to 60 pixels."""
    y, z = _grid(x)
    ink = torch.zeros_like(x[:, :1])
    for mark in range(most):
        # The first mark is always there, each later one more seldom.
        there = torch.randint(1, most + 1, (len(x), 1, 1, 1), device=x.device) > mark
        centre = 35 + torch.rand(2, len(x), 1, 1, 1, device=x.device) * (SIDE - 70)
        for _ in range(6):
            offset = torch.randn(2, len(x), 1, 1, 1, device=x.device) * 9
            radius = 5 + torch.rand(len(x), 1, 1, 1, device=x.device) * 11
            distance = torch.hypot(y - centre[0] - offset[0], z - centre[1] - offset[1])
            ink = torch.maximum(ink, there * (radius - distance).clamp(0, 4) / 4)
    return x * (1 - ink)


def bubble(x: Tensor, radius_and_count: tuple[int, int]) -> Tensor:
    """Seven to `count` whitish discs with a brighter rim, of radius 3 to `radius`."""
    largest, most = radius_and_count
    y, z = _grid(x)
    white = torch.zeros_like(x[:, :1])
    count = torch.randint(7, most + 1, (len(x), 1, 1, 1), device=x.device)
    for number in range(most):
        radius = torch.randint(3, largest + 1, (len(x), 1, 1, 1), device=x.device)
        centre = radius + torch.rand(2, len(x), 1, 1, 1, device=x.device) * (SIDE - 2 * radius)
        distance = torch.hypot(y - centre[0], z - centre[1])
        there = number < count
        white = torch.where(there & (distance <= radius + 2), 130 / 255, white)
        white = torch.where(there & (distance <= radius), 100 / 255, white)
    return x * (1 - white) + white


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    height, width = x.shape[-2:]
    return (
        torch.arange(height, device=x.device).view(1, 1, -1, 1),
        torch.arange(width, device=x.device).view(1, 1, 1, -1),
    )


_JPEG = (50, 30, 15, 10, 7)
_DOWN = (0.9, 0.8, 0.7, 0.6, 0.5)
_COARSE = (0.30, 0.25, 0.20, 0.15, 0.10)
# Names without _up and _down are functions above.
SEVERITIES: dict[str, dict[str, tuple[Any, ...]]] = {
    "pathmnist": {
        "pixelate": (0.8, 0.6, 0.4, 0.3, 0.25),
        "jpeg_compression": _JPEG,
        "defocus_blur": ((3, 0.1), (4, 0.1), (5, 0.2), (6, 0.2), (7, 0.3)),
        "motion_blur": ((5, 5), (10, 5), (15, 5), (15, 8), (15, 12)),
        "brightness_up": (1.1, 1.15, 1.2, 1.22, 1.25),
        "brightness_down": (0.85, 0.8, 0.75, 0.72, 0.7),
        "contrast_up": (1.1, 1.2, 1.3, 1.4, 1.6),
        "contrast_down": (0.8, 0.7, 0.6, 0.55, 0.5),
        "saturate": (0.05, 0.1, 0.15, 0.2, 0.25),
        "stain_deposit": (1, 2, 3, 4, 5),
        "bubble": ((7, 15), (10, 15), (12, 15), (15, 20), (17, 25)),
    },
    "bloodmnist": {
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": _JPEG,
        "defocus_blur": ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1)),
        "motion_blur": ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9)),
        "brightness_up": (1.1, 1.2, 1.3, 1.35, 1.4),
        "brightness_down": _DOWN,
        "contrast_up": (1.1, 1.15, 1.2, 1.25, 1.3),
        "contrast_down": _DOWN,
        "saturate": (0.05, 0.1, 0.15, 0.17, 0.2),
        "stain_deposit": (1, 2, 3, 3, 3),
        "bubble": ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12)),
    },
    "retinamnist": {
        "pixelate": (0.8, 0.6, 0.5, 0.4, 0.35),
        "jpeg_compression": (30, 25, 20, 10, 5),
        "gaussian_noise": (0.04, 0.08, 0.12, 0.16, 0.2),
        "speckle_noise": (0.1, 0.15, 0.2, 0.25, 0.3),
        "defocus_blur": ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5)),
        "motion_blur": ((8, 5), (15, 5), (15, 8), (15, 12), (20, 15)),
        "brightness_down": _DOWN,
        "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
    },
    "breastmnist": {
        "pixelate": _COARSE,
        "jpeg_compression": _JPEG,
        "speckle_noise": (0.1, 0.15, 0.2, 0.25, 0.3),
        "motion_blur": ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
        "brightness_up": (1.4, 1.5, 1.6, 1.8, 2.0),
        "brightness_down": (0.55, 0.5, 0.45, 0.4, 0.3),
        "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
    },
    "pneumoniamnist": {
        "pixelate": (0.8, 0.7, 0.6, 0.5, 0.4),
        "jpeg_compression": _JPEG,
        "gaussian_noise": (0.04, 0.05, 0.06, 0.07, 0.08),
        "speckle_noise": (0.05, 0.07, 0.1, 0.15, 0.2),
        "impulse_noise": (0.005, 0.01, 0.013, 0.017, 0.02),
        "shot_noise": (300, 200, 150, 100, 80),
        "gaussian_blur": (3, 5, 7, 9, 11),
        "brightness_up": (1.1, 1.2, 1.3, 1.4, 1.5),
        "brightness_down": _DOWN,
        "contrast_up": (1.1, 1.2, 1.3, 1.4, 1.6),
        "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
        "gamma_up": (1.1, 1.2, 1.3, 1.4, 1.6),
        "gamma_down": (0.9, 0.8, 0.7, 0.6, 0.4),
    },
}
FUNCTIONS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    function.__name__: function
    for function in (
        pixelate, jpeg_compression, gaussian_noise, speckle_noise, impulse_noise, shot_noise, defocus_blur,
        motion_blur, gaussian_blur, brightness, contrast, saturate, gamma, stain_deposit, bubble,
    )
}  # fmt: skip


def corrupt(x: Tensor, subset: str, name: str, severity: int) -> Tensor:
    """Corrupt a batch as MedMNIST-C does for a subset.

    Args:
        x: float (B, 3, 224, 224) in 0..1. name: a key of SEVERITIES[subset]. severity: 1 to 5.
    """
    function = FUNCTIONS[name.removesuffix("_up").removesuffix("_down")]
    return function(x, SEVERITIES[subset][name][severity - 1]).clamp(0, 1)
