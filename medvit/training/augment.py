"""Augmentation of whole batches on the training device."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medvit.imaging.jpeg import simulate_jpeg


@dataclass(frozen=True)
class Augmentation:
    """Random changes, drawn separately for each image.

    `flip_x`, `flip_y`: mirror with probability one half. `rot90`: rotate by 0, 90, 180 or 270 degrees; on its
    own it keeps every pixel sharp. `degrees`: largest rotation either way.
    `scale`, `translate`: largest change either way, as a fraction of the image side. `brightness`,
    `contrast`, `saturation`: largest relative change. `jpeg`: fraction of the images that are compressed as
    JPEG.
    `noise`: largest standard deviation in grey levels. `blur`: half of the images get a Gaussian blur of up
    to this many pixels along a random direction and of up to half as many across it. `random_erasing`:
    probability of each of three grey squares, 0.1 to 0.3 of the image side long (Random Erasing: Zhong et
    al., AAAI 2020).
    """

    flip_x: bool = True
    flip_y: bool = False
    rot90: bool = False
    degrees: float = 10.0
    scale: float = 0.1
    translate: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.0
    jpeg: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    random_erasing: float = 0.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """Augment uint8 or float pixels (B, 3, H, W) in 0..255 to float32 of the same shape and range."""
        x = pixels.float()
        if self == NO_AUGMENTATION:
            return x
        grid = F.affine_grid(self._affine_maps(len(x), x.device), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        x = self._jitter_colours(x)
        if self.blur:
            x = _blur(x, self.blur)
        if self.random_erasing:
            x = _erase(x, self.random_erasing)
        if self.jpeg:
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < self.jpeg, simulate_jpeg(x), x)
        strength = torch.rand(len(x), 1, 1, 1, device=x.device) * self.noise
        return (x + strength * torch.randn_like(x)).clamp(0, 255)

    def _affine_maps(self, batch: int, device: torch.device) -> Tensor:
        """Inverse affine maps, one for each image: (B, 2, 3)."""
        angle = _uniform(math.radians(self.degrees), batch, device)
        if self.rot90:
            angle = angle + torch.randint(4, (batch,), device=device) * (math.pi / 2)
        scale = 1 + _uniform(self.scale, batch, device)
        sign_x, sign_y = (_random_sign(flip, batch, device) for flip in (self.flip_x, self.flip_y))
        cos, sin = angle.cos() * scale, angle.sin() * scale
        shift_x, shift_y = (_uniform(2 * self.translate, batch, device) for _ in range(2))
        rows = [cos * sign_x, -sin * sign_y, shift_x, sin * sign_x, cos * sign_y, shift_y]
        return torch.stack(rows, -1).view(batch, 2, 3)

    def _jitter_colours(self, x: Tensor) -> Tensor:
        brightness, contrast, saturation = (
            1 + _uniform(amount, len(x), x.device).view(-1, 1, 1, 1)
            for amount in (self.brightness, self.contrast, self.saturation)
        )
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * saturation
        level = x.mean((1, 2, 3), keepdim=True)
        return (level + (x - level) * contrast) * brightness


NO_AUGMENTATION = Augmentation(flip_x=False, degrees=0, scale=0, translate=0, brightness=0, contrast=0)


def _blur(x: Tensor, largest: float) -> Tensor:
    """Blur half of the images (B, 3, H, W), each by a Gaussian of its own length, width and direction."""
    batch, reach = len(x), min(math.ceil(2 * largest), min(x.shape[-2:]) - 1)
    along, across, angle = torch.rand(3, batch, 1, 1, device=x.device)
    along, angle = (2 * along - 1).clamp(min=1e-3) * largest, angle * math.pi
    across = across * along / 2 + 1e-3
    step = torch.arange(-reach, reach + 1.0, device=x.device)
    forward = step * angle.cos() + step[:, None] * angle.sin()  # (B, k, k)
    sideways = step[:, None] * angle.cos() - step * angle.sin()
    kernels = (-((forward / along) ** 2 + (sideways / across) ** 2) / 2).exp()
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    padded = F.pad(x, (reach,) * 4, mode="reflect").transpose(0, 1)  # (3, B, ...), each image a channel
    return F.conv2d(padded, kernels[:, None], groups=batch).transpose(0, 1)


def _erase(x: Tensor, probability: float) -> Tensor:
    """Paint up to three grey squares on each of the images (B, 3, H, W) in 0..255."""
    batch, _, height, width = x.shape
    rows, columns = _pixel_centres(height, width, x.device)
    for row, column, size, grey, draw in torch.rand(3, 5, batch, 1, 1, 1, device=x.device):
        half = 0.05 + 0.1 * size
        square = ((rows - row).abs() < half) & ((columns - column).abs() < half)
        x = torch.where(square & (draw < probability), 255 * grey, x)
    return x


def _pixel_centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows (1, 1, H, 1) and columns (1, 1, 1, W) of the pixels' centres, as fractions of the side."""
    rows = (torch.arange(height, device=device).view(1, 1, -1, 1) + 0.5) / height
    return rows, (torch.arange(width, device=device).view(1, 1, 1, -1) + 0.5) / width


def mix(x: Tensor, targets: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Mix images and their targets with those of the previous image in the batch.

    MixUp (Zhang et al., 2018) blends the two images, CutMix (Yun et al., 2019) pastes a square of the other
    one. The proportion is uniform in 0..1, which is Beta(1, 1), for each image.

    Args:
        x: float (B, 3, H, W).
        targets: (B, C).
        mixup, cutmix: fractions of the images to mix in each way.
    """
    if not mixup + cutmix:
        return x, targets
    batch, _, height, width = x.shape
    proportion, kind, row, column = torch.rand(4, batch, 1, 1, 1, device=x.device)
    half = (1 - proportion).sqrt() / 2  # of the pasted square's side; the image's side is 1
    rows, columns = _pixel_centres(height, width, x.device)
    outside = ((rows - row).abs() > half) | ((columns - column).abs() > half)  # (B, 1, H, W)
    own = torch.where(kind < cutmix, outside.float(), torch.where(kind < cutmix + mixup, proportion, 1.0))
    weight = own.expand(-1, 1, height, width).mean((1, 2, 3)).unsqueeze(1)  # (B, 1)
    return x * own + x.roll(1, 0) * (1 - own), targets * weight + targets.roll(1, 0) * (1 - weight)


def _uniform(largest: float, batch: int, device: torch.device) -> Tensor:
    """Uniform random numbers (B,) from -largest to largest."""
    return torch.empty(batch, device=device).uniform_(-largest, largest)


def _random_sign(flip: bool, batch: int, device: torch.device) -> Tensor:
    """Random signs (B,); all 1 where `flip` is false."""
    ones = torch.ones(batch, device=device)
    return torch.where(torch.rand(batch, device=device) < 0.5, -ones, ones) if flip else ones
