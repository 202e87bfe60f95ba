"""A split on the training device, as uint8 from the first step to the last, and random batches of it."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from medvit.imaging.preprocess import to_tensor


class DeviceDataset:
    """Images and labels of a split, on the device; where it is a GPU with too little room, in memory.

    `pixels`: uint8 (N, 3, s, s). `labels`: int64 (N,), or float32 (N, C) of a multi-label subset.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, device: torch.device):
        self.device = device
        pixels = to_tensor(images)
        fits = device.type != "cuda" or pixels.nbytes < torch.cuda.mem_get_info(device)[0] / 2
        self.pixels = pixels.to(device) if fits else pixels
        self.labels = torch.tensor(labels, dtype=torch.float32 if labels.ndim == 2 else torch.int64).to(
            device
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: Tensor | slice) -> dict[str, Tensor]:
        there = chosen.to(self.pixels.device) if isinstance(chosen, Tensor) else chosen
        pixels = self.pixels[there].to(self.device, non_blocking=True)
        return {"pixels": pixels, "labels": self.labels[chosen]}


class BatchLoader:
    """The training split in random batches of one size, anew each epoch; what is over is left out.

    The order depends on seed and epoch alone. Of several processes each takes its part of every batch, so
    that together they see what one alone would.
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
        """Choose the order; the Trainer calls this."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = torch.Generator().manual_seed((self.seed << 24) + self.epoch)
        order = torch.randperm(len(self.dataset), generator=random).to(self.dataset.device)
        for step in range(len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self.dataset[batch[self.process :: self.processes]]
