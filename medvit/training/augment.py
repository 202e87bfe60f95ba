"""Augmentation of a whole batch at once, on the device where it lies."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes, drawn anew for each image.

    `flip_x`, `flip_y`: mirror with probability one half. `degrees`: rotation up to this angle either way.
    `scale`, `shift`: up to this share of the size either way. `brightness`, `contrast`, `saturation`: up to
    this share.
    """

    flip_x: bool = True
    flip_y: bool = False
    degrees: float = 10.0
    scale: float = 0.1
    shift: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.0

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 or float (B, 3, H, W) in 0..255 to float32 of the same shape and range."""
        x = pixels.float()
        grid = F.affine_grid(self._matrices(len(x), x.device), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        return self._recolour(x).clamp(0, 255)

    def _matrices(self, batch: int, device: torch.device) -> Tensor:
        """One inverse affine map an image, (B, 2, 3)."""
        angle = _either_way(math.radians(self.degrees), batch, device)
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


def _either_way(most: float, batch: int, device: torch.device) -> Tensor:
    return torch.empty(batch, device=device).uniform_(-most, most)


def _sign(random: bool, batch: int, device: torch.device) -> Tensor:
    ones = torch.ones(batch, device=device)
    return torch.where(torch.rand(batch, device=device) < 0.5, -ones, ones) if random else ones
