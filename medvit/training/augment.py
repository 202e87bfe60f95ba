"""Augmentation of a whole batch at once, on the device where it lies."""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random changes, drawn anew for each image.

    `flip_x`, `flip_y`: mirror with probability one half. `rot90`: by 0, 90, 180 or 270 degrees; alone
    it keeps every pixel sharp. `degrees`: rotation up to this angle either way.
    `scale`, `translate`: up to this share of the size either way. `brightness`, `contrast`, `saturation`: up to
    this share. `jpeg`: share of the images that are saved as JPEG. `noise`: standard deviation of up to this
    many grey levels. `blur`: half of the images get a Gaussian of up to this many pixels along some direction
    and of up to half as many across it. `random_erasing`: chance of each of three squares, a tenth to three tenths of
    the side long, to be painted over in some grey (Random Erasing: Zhong et al., AAAI 2020).
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
        """uint8 or float (B, 3, H, W) in 0..255 to float32 of the same shape and range."""
        x = pixels.float()
        grid = F.affine_grid(self._matrices(len(x), x.device), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        x = self._recolour(x)
        if self.blur:
            x = _blur(x, self.blur)
        if self.random_erasing:
            x = _erase(x, self.random_erasing)
        if self.jpeg:
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < self.jpeg, jpeg(x), x)
        strength = torch.rand(len(x), 1, 1, 1, device=x.device) * self.noise
        return (x + strength * torch.randn_like(x)).clamp(0, 255)

    def _matrices(self, batch: int, device: torch.device) -> Tensor:
        """One inverse affine map an image, (B, 2, 3)."""
        angle = _either_way(math.radians(self.degrees), batch, device)
        if self.rot90:
            angle = angle + torch.randint(4, (batch,), device=device) * (math.pi / 2)
        scale = 1 + _either_way(self.scale, batch, device)
        mirror_x, mirror_y = (_sign(on, batch, device) for on in (self.flip_x, self.flip_y))
        cos, sin = angle.cos() * scale, angle.sin() * scale
        shift_x, shift_y = (_either_way(2 * self.translate, batch, device) for _ in range(2))
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


def _blur(x: Tensor, most: float) -> Tensor:
    """Half of the images (B, 3, H, W) with a Gaussian each of its own width, length and direction."""
    batch, reach = len(x), math.ceil(2 * most)
    along, across, angle = torch.rand(3, batch, 1, 1, device=x.device)
    along, angle = (2 * along - 1).clamp(min=1e-3) * most, angle * math.pi
    across = across * along / 2 + 1e-3
    step = torch.arange(-reach, reach + 1.0, device=x.device)
    forward = step * angle.cos() + step[:, None] * angle.sin()  # (B, k, k)
    sideways = step[:, None] * angle.cos() - step * angle.sin()
    kernels = (-((forward / along) ** 2 + (sideways / across) ** 2) / 2).exp()
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    wide = F.pad(x, (reach,) * 4, mode="reflect").transpose(0, 1)  # (3, B, ...), each image a channel
    return F.conv2d(wide, kernels[:, None], groups=batch).transpose(0, 1)


def _erase(x: Tensor, chance: float) -> Tensor:
    """Images (B, 3, H, W) in 0..255 with up to three grey squares on them."""
    batch, _, height, width = x.shape
    rows, columns = _centres(height, width, x.device)
    for row, column, half, grey, there in torch.rand(3, 5, batch, 1, 1, 1, device=x.device):
        half = 0.05 + 0.1 * half
        inside = ((rows - row).abs() < half) & ((columns - column).abs() < half) & (there < chance)
        x = torch.where(inside, 255 * grey, x)
    return x


def _centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the pixels' centres lie, as shares of the side: (1, 1, H, 1) and (1, 1, 1, W)."""
    rows = (torch.arange(height, device=device).view(1, 1, -1, 1) + 0.5) / height
    return rows, (torch.arange(width, device=device).view(1, 1, 1, -1) + 0.5) / width


def jpeg(pixels: Tensor, quality: int = 95) -> Tensor:
    """What saving as JPEG does: colour at half the resolution (4:2:0), and rounded cosine coefficients.

    Source: ITU-T T.81, with the tables of its annex K as libjpeg scales them. libjpeg also rounds in between,
    which moves a pixel by about one grey level.

    Args:
        pixels: float (B, 3, H, W) in 0..255. quality: 50 to 100, as libjpeg and Pillow count.

    Returns:
        The same shape and range.
    """
    height, width = pixels.shape[-2:]
    x = F.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = x.split(1, 1)
    lightness = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = F.avg_pool2d(torch.cat([(blue - lightness) / 1.772, (red - lightness) / 1.402], 1), 2)
    cosine, *steps = _tables(quality, pixels.device)
    lightness = _requantise(lightness - 128, cosine, steps[0]) + 128
    chroma = _requantise(chroma, cosine, steps[1])
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    blue, red = lightness + 1.772 * chroma[:, :1], lightness + 1.402 * chroma[:, 1:]
    green = (lightness - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat([red, green, blue], 1)[..., :height, :width].clamp(0, 255)


def _requantise(x: Tensor, cosine: Tensor, steps: Tensor) -> Tensor:
    """Round the cosine coefficients of every 8 x 8 block of (B, C, H, W) to multiples of `steps`."""
    blocks = x.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # (B, C, H/8, W/8, 8, 8)
    rounded = (_on_both_sides(cosine, blocks) / steps).round() * steps
    return _on_both_sides(cosine.T, rounded).transpose(-3, -2).flatten(-4, -3).flatten(-2)


def _on_both_sides(matrix: Tensor, blocks: Tensor) -> Tensor:
    """matrix @ blocks @ matrix.T, as two large products instead of many small ones."""
    return ((blocks @ matrix.T).mT @ matrix.T).mT


@cache  # made once on each device: a CUDA graph cannot copy from the host
def _tables(quality: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The orthonormal cosine transform (8, 8), and the steps of the coefficients of lightness and chroma."""
    n = torch.arange(8.0)
    cosine = ((2 * n + 1) * n[:, None] * (math.pi / 16)).cos() / 2
    cosine[0] /= math.sqrt(2)
    steps = [((torch.tensor(t) * (200 - 2 * quality) + 50) // 100).clamp(1) for t in (LIGHTNESS, CHROMA)]
    return cosine.to(device), steps[0].to(device), steps[1].to(device)


LIGHTNESS = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMA = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]


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
    rows, columns = _centres(height, width, x.device)
    outside = ((rows - row).abs() > half) | ((columns - column).abs() > half)  # (B, 1, H, W)
    own = torch.where(kind < cutmix, outside.float(), torch.where(kind < cutmix + mixup, share, 1.0))
    weight = own.expand(-1, 1, height, width).mean((1, 2, 3)).unsqueeze(1)  # (B, 1)
    return x * own + x.roll(1, 0) * (1 - own), targets * weight + targets.roll(1, 0) * (1 - weight)


def _either_way(most: float, batch: int, device: torch.device) -> Tensor:
    return torch.empty(batch, device=device).uniform_(-most, most)


def _sign(random: bool, batch: int, device: torch.device) -> Tensor:
    ones = torch.ones(batch, device=device)
    return torch.where(torch.rand(batch, device=device) < 0.5, -ones, ones) if random else ones
