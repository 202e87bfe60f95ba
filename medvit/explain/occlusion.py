"""Occlusion: erase one patch after the other and see what the answer loses.

Zeiler and Fergus: Visualizing and Understanding Convolutional Networks (ECCV 2014); blurred instead of grey.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medvit.explain.explainer import Explainer, ForwardPass, MapOptions


def occlusion(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """The probability of `choice.target` that each patch holds: before, minus after it was blurred.

    Returns:
        (gh, gw) in -1..1; below zero where the patch speaks against the class.
    """
    cells = seen.grid[0] * seen.grid[1]
    one_at_a_time = torch.eye(cells, dtype=torch.bool)  # (cells, cells)
    after = explainer.ask(erase(seen.pixels, seen.to_grid(one_at_a_time)))[:, choice.target]
    before = explainer.probabilities(seen.logits)[choice.target]
    return seen.to_grid(before - after)


def erase(pixels: Tensor, cells: Tensor, filling: Tensor | None = None) -> Tensor:
    """Replace cells of an image (1, 3, H, W) by `filling`, of the same shape, or its blurred self.

    Args:
        cells: bool (N, gh, gw), the cells to erase in each of the N results.

    Returns:
        (N, 3, H, W) float
    """
    pixels = pixels.float()
    filling = blur(pixels) if filling is None else filling
    mask = F.interpolate(cells[:, None].float(), pixels.shape[-2:], mode="nearest-exact") > 0.5
    return torch.where(mask, filling, pixels)


def blur(pixels: Tensor) -> Tensor:
    """A Gaussian blur of images (B, 3, H, W) that leaves no shape of a patch's size: sigma an eighth of H."""
    sigma = pixels.shape[-2] / 8
    reach = min(round(2 * sigma), pixels.shape[-1] - 1, pixels.shape[-2] - 1)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=pixels.device)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    x = F.pad(pixels.float(), [reach] * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel, groups=3), kernel.transpose(-1, -2), groups=3)
