"""Occlusion: mask one patch after the other and measure what the class loses.

Zeiler and Fergus: Visualizing and Understanding Convolutional Networks (ECCV 2014); blurred instead of grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from medvit.explain.forward_pass import ForwardPass, MapOptions

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


def occlusion(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """The probability of the class that is lost when each patch is blurred.

    Returns:
        (gh, gw) in -1..1; negative where the patch is evidence against the class.
    """
    cells = forward_pass.grid[0] * forward_pass.grid[1]
    each_cell = forward_pass.to_grid(torch.eye(cells, dtype=torch.bool))  # (cells, gh, gw)
    masked = explainer.predict(mask_cells(forward_pass.pixels, each_cell))[:, options.target]  # (cells,)
    return forward_pass.to_grid(explainer.probabilities(forward_pass.logits)[options.target] - masked)


def mask_cells(pixels: Tensor, cells: Tensor) -> Tensor:
    """Replace cells of an image (1, 3, H, W) by the blurred image.

    Args:
        cells: bool (N, gh, gw), the cells to mask in each of the N results.

    Returns:
        (N, 3, H, W) float
    """
    pixels = pixels.float()
    mask = F.interpolate(cells[:, None].float(), pixels.shape[-2:], mode="nearest-exact") > 0.5
    return torch.where(mask, blur(pixels), pixels)


def blur(pixels: Tensor) -> Tensor:
    """Blur images (B, 3, H, W) with a Gaussian of sigma H / 8; no detail of a patch's size remains."""
    sigma = pixels.shape[-2] / 8
    radius = min(round(2 * sigma), pixels.shape[-1] - 1, pixels.shape[-2] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=pixels.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    x = F.pad(pixels.float(), [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel, groups=3), kernel.transpose(-1, -2), groups=3)
