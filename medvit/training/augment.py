"""Augmentation of a whole batch at once, on the device where it lies."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes, drawn anew for each image.

    `flip_x`, `flip_y`: mirror with probability one half. `quarter_turns`: by 0, 90, 180 or 270 degrees; alone
    it keeps every pixel sharp. `degrees`: rotation up to this angle either way.
    `scale`, `shift`: up to this share of the size either way. `brightness`, `contrast`, `saturation`: up to
    this share. `coarse_chroma`: share of the images whose colour, not their lightness, is halved in
    resolution, as JPEG does to most pictures. `noise`: standard deviation of up to this many grey levels.
    """

    flip_x: bool = True
    flip_y: bool = False
    quarter_turns: bool = False
    degrees: float = 10.0
    scale: float = 0.1
    shift: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.0
    coarse_chroma: float = 0.0
    noise: float = 0.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 or float (B, 3, H, W) in 0..255 to float32 of the same shape and range."""
        x = pixels.float()
        grid = F.affine_grid(self._matrices(len(x), x.device), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        x = coarsen_chroma(self._recolour(x), torch.rand(len(x), device=x.device) < self.coarse_chroma)
        strength = torch.rand(len(x), 1, 1, 1, device=x.device) * self.noise
        return (x + strength * torch.randn_like(x)).clamp(0, 255)

    def _matrices(self, batch: int, device: torch.device) -> Tensor:
        """One inverse affine map an image, (B, 2, 3)."""
        angle = _either_way(math.radians(self.degrees), batch, device)
        if self.quarter_turns:
            angle = angle + torch.randint(4, (batch,), device=device) * (math.pi / 2)
        scale = 1 + _either_way(self.scale, batch, device)
        mirror_x, mirror_y = (_sign(on, batch, device) for on in (self.flip_x, self.flip_y))
        cos, sin = angle.cos() * scale, angle.sin() * scale
        shift_x, shift_y = (_either_way(2 * self.shift, batch, device) for _ in range(2))
        rows = [cos * mirror_x, -sin * mirror_y, shift_x, sin * mirror_x, cos * mirror_y, shift_y]
        return torch.stack(rows, -1).view(batch, 2, 3)

    def _recolour(self, x: Tensor) -> Tensor:
        brightness, contrast, saturation = (
            1 + _either_way(amount, len(x), x.device).view(-1, 1, 1, 1)
            for amount in (self.brightness, self.contrast, self.saturation)
        )
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * saturation
        level = x.mean((1, 2, 3), keepdim=True)
        return (level + (x - level) * contrast) * brightness


def coarsen_chroma(pixels: Tensor, which: Tensor) -> Tensor:
    """What 4:2:0 subsampling does: chroma is averaged over 2 x 2 pixels and enlarged again linearly.

    Args:
        pixels: float (B, 3, H, W), H and W even. which: bool (B,), the images to change.

    Returns:
        The same shape; lightness, as JPEG weighs the channels (ITU-R BT.601), unchanged.
    """
    red, green, blue = pixels.split(1, 1)
    lightness = 0.299 * red + 0.587 * green + 0.114 * blue  # (B, 1, H, W)
    half = F.avg_pool2d(pixels - lightness, 2)
    chroma = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.where(which.view(-1, 1, 1, 1), lightness + chroma, pixels)


def mix(x: Tensor, targets: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Mix images, and what is to be answered for them, with those of their neighbours in the batch.

    MixUp (Zhang et al., 2018) fades the neighbour in, CutMix (Yun et al., 2019) pastes a square of it.
    How much is drawn evenly from 0 to 1, which is Beta(1, 1), for each image.

    Args:
        x: float (B, 3, H, W). targets: (B, C). mixup, cutmix: shares of the images to treat so.
    """
    if not mixup + cutmix:
        return x, targets
    batch, _, height, width = x.shape
    share, kind, row, column = torch.rand(4, batch, 1, 1, 1, device=x.device)
    half = (1 - share).sqrt() / 2  # of the square's side, the image's side being one
    rows = (torch.arange(height, device=x.device).view(1, 1, -1, 1) + 0.5) / height
    columns = (torch.arange(width, device=x.device).view(1, 1, 1, -1) + 0.5) / width
    outside = ((rows - row).abs() > half) | ((columns - column).abs() > half)  # (B, 1, H, W)
    own = torch.where(kind < cutmix, outside.float(), torch.where(kind < cutmix + mixup, share, 1.0))
    weight = own.expand(-1, 1, height, width).mean((1, 2, 3)).unsqueeze(1)  # (B, 1)
    return x * own + x.roll(1, 0) * (1 - own), targets * weight + targets.roll(1, 0) * (1 - weight)


def _either_way(most: float, batch: int, device: torch.device) -> Tensor:
    return torch.empty(batch, device=device).uniform_(-most, most)


def _sign(random: bool, batch: int, device: torch.device) -> Tensor:
    ones = torch.ones(batch, device=device)
    return torch.where(torch.rand(batch, device=device) < 0.5, -ones, ones) if random else ones
