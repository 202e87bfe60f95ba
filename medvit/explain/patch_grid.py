"""How the patches of a model are laid out in the image."""

import math

import torch
from torch import Tensor, nn

MAX_PREFIX_TOKENS = 8  # class, distillation and register tokens before the patches
Size = tuple[int, int] | torch.Size


def patch_grid(model: nn.Module, size: Size, tokens: int) -> tuple[int, int] | None:
    """Patches down and across for inputs of `size` (H, W) pixels that become `tokens` tokens, or None.

    From the patch size where the model tells it, else the most patches, in the proportions of the input, that
    leave few prefix tokens.
    """
    patch_sizes = [getattr(getattr(model, "config", None), "patch_size", None)]
    patch_sizes += [
        module.kernel_size
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.in_channels in (1, 3)
        and module.kernel_size == module.stride
    ]
    for patch in filter(None, patch_sizes):
        height, width = (patch, patch) if isinstance(patch, int) else tuple(patch)
        grid = size[0] // height, size[1] // width
        if 0 <= tokens - grid[0] * grid[1] <= MAX_PREFIX_TOKENS:
            return grid
    for patches in range(tokens, max(0, tokens - MAX_PREFIX_TOKENS - 1), -1):
        rows = math.isqrt(patches * size[0] // size[1])
        columns = patches // max(1, rows)
        if rows * columns == patches and rows * size[1] == columns * size[0]:
            return rows, columns
    return None


def as_map(values: Tensor, model: nn.Module, size: Size, first_patch: int | None = None) -> Tensor | None:
    """Lay the output of a layer out as a map (1, C, h, w), or return None where it is none.

    Args:
        values: maps (1, C, h, w) or (1, h, w, C) in the proportions of the input, or tokens (1, T, C) or
            (T, 1, C).
        size: (H, W) of the input in pixels.
        first_patch: index of the first patch among the tokens; by default the patches come last.
    """
    if values.ndim == 3 and values.shape[1] == 1:
        values = values.transpose(0, 1)
    if len(values) != 1:  # windows of the image, which some models put side by side in the batch
        return None
    if values.ndim == 3 and values.shape[2] == 1:  # the channels of a pooled image
        return None
    if values.ndim == 4:
        if _is_grid(values.shape[2:], size):
            return values
        return values.permute(0, 3, 1, 2) if _is_grid(values.shape[1:3], size) else None
    grid = patch_grid(model, size, values.shape[1]) if values.ndim == 3 else None
    if grid is None or not _is_grid(grid, size):
        return None
    patches = grid[0] * grid[1]
    first = values.shape[1] - patches  # a layer may have fewer of the tokens beside the patches
    first = first if first_patch is None else min(first, first_patch)
    return values[:, first : first + patches].transpose(1, 2).unflatten(-1, grid)


def _is_grid(grid: Size, size: Size) -> bool:
    """Whether rows and columns are more than one place, in the proportions of the input to within a row."""
    return max(grid) > 1 and abs(grid[0] - grid[1] * size[0] / size[1]) < 1
