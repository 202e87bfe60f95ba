"""JPEG compression: the real encoder for arrays, and a simulation of it in torch for training."""

import io
import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# Quantization tables of ITU-T T.81, annex K, for quality 50.
LUMINANCE_TABLE = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMINANCE_TABLE = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]


def jpeg_round_trip(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode an image, uint8 (H, W) or (H, W, 3), as JPEG (4:2:0) with Pillow, and decode it again.

    Args:
        quality: 1 to 100, as libjpeg counts.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def simulate_jpeg(pixels: Tensor, quality: int = 95) -> Tensor:
    """Change pixels as a JPEG round trip does: halved chroma resolution (4:2:0), rounded DCT coefficients.

    Source: ITU-T T.81, with the tables of its annex K scaled as in libjpeg. libjpeg also rounds intermediate
    values, which changes a pixel by about one grey level.

    Args:
        pixels: float (B, 3, H, W) in 0..255.
        quality: 50 to 100, as libjpeg and Pillow count.

    Returns:
        The same shape and range.
    """
    height, width = pixels.shape[-2:]
    x = F.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = x.split(1, 1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    chrominance = F.avg_pool2d(torch.cat([(blue - luminance) / 1.772, (red - luminance) / 1.402], 1), 2)
    dct, luminance_steps, chrominance_steps = _tables(quality, pixels.device)
    luminance = _quantize(luminance - 128, dct, luminance_steps) + 128
    chrominance = _quantize(chrominance, dct, chrominance_steps)
    chrominance = F.interpolate(chrominance, scale_factor=2, mode="bilinear", align_corners=False)
    blue, red = luminance + 1.772 * chrominance[:, :1], luminance + 1.402 * chrominance[:, 1:]
    green = (luminance - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat([red, green, blue], 1)[..., :height, :width].clamp(0, 255)


def _quantize(x: Tensor, dct: Tensor, steps: Tensor) -> Tensor:
    """Round the DCT coefficients of every 8 x 8 block of (B, C, H, W) to multiples of `steps` (8, 8)."""
    blocks = x.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # (B, C, H/8, W/8, 8, 8)
    rounded = (_transform(dct, blocks) / steps).round() * steps
    return _transform(dct.T, rounded).transpose(-3, -2).flatten(-4, -3).flatten(-2)


def _transform(matrix: Tensor, blocks: Tensor) -> Tensor:
    """matrix @ blocks @ matrix.T, as two large products instead of many small ones."""
    return ((blocks @ matrix.T).mT @ matrix.T).mT


@cache  # made once on each device: a CUDA graph cannot copy from the host
def _tables(quality: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The orthonormal DCT matrix (8, 8), and the quantization steps (8, 8) of luminance and chrominance."""
    n = torch.arange(8.0)
    dct = ((2 * n + 1) * n[:, None] * (math.pi / 16)).cos() / 2
    dct[0] /= math.sqrt(2)
    luminance, chrominance = (
        ((torch.tensor(table) * (200 - 2 * quality) + 50) // 100).clamp(1)
        for table in (LUMINANCE_TABLE, CHROMINANCE_TABLE)
    )
    return dct.to(device), luminance.to(device), chrominance.to(device)
