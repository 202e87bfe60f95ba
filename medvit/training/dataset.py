"""A split on the training device, as uint8, and random batches of it."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from medvit.errors import MedvitError
from medvit.imaging.preprocess import to_tensor


def check_memory(images: int, size: int) -> None:
    """Raise a MedvitError where so many images of `size` pixels a side exceed the free memory."""
    needed, free = images * 3 * size**2, psutil.virtual_memory().available
    if needed > free:
        raise MedvitError(
            f"{images:,} images of {size} pixels take {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free. Train on fewer images with --train-images, or on smaller ones "
            "with --size."
        )


class DeviceDataset:
    """Images and targets of a split on the training device; pixels stay in memory where a GPU lacks room.

    `pixels`: uint8 (N, 3, s, s). `targets`: what is trained for, float32 (N, C), or None for a split that is
    only predicted.
    """

    def __init__(self, images: np.ndarray, device: torch.device, targets: Tensor | None = None):
        self.device = device
        pixels = to_tensor(images)
        fits = device.type != "cuda" or pixels.nbytes < torch.cuda.mem_get_info(device)[0] / 2
        self.pixels = pixels.to(device) if fits else pixels
        self.targets = None if targets is None else targets.to(device)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Tensor | slice) -> dict[str, Tensor]:
        """Return the images of an index tensor or slice: "pixels", and "targets" where there are any."""
        pixel_index = index.to(self.pixels.device) if isinstance(index, Tensor) else index
        batch = {"pixels": self.pixels[pixel_index].to(self.device, non_blocking=True)}
        if self.targets is not None:
            batch["targets"] = self.targets[index]
        return batch


class Loader(Protocol):
    """What the Trainer reads: batches of "pixels", uint8 or float in 0..255, and "targets", float (B, C)."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Tensor]]: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of the next pass; the Trainer calls this."""


class BatchLoader:
    """Random batches of one size, in a new order each epoch; an incomplete last batch is dropped.

    The order depends on the seed and the epoch alone. Each of several processes takes its part of every
    batch, so that together they train on the batches that one process would.
    """

    def __init__(
        self, dataset: DeviceDataset, batch_size: int, seed: int, process: int = 0, processes: int = 1
    ):
        self.dataset = dataset
        self.batch_size = max(min(batch_size, len(dataset)) // processes, 1) * processes
        self.seed, self.process, self.processes = seed, process, processes
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.dataset) // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed((self.seed << 24) + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).to(self.dataset.device)
        for step in range(len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.dataset[batch[self.process :: self.processes]]
