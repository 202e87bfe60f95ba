import numpy as np
import pytest
import torch

from medvit.errors import MedvitError
from medvit.training.dataset import BatchLoader, DeviceDataset, check_memory

CPU = torch.device("cpu")


def numbers(loader):
    """The targets of each batch; here they are the numbers of the images."""
    return [batch["targets"].flatten().tolist() for batch in loader]


def test_processes_share_each_batch_and_no_image_comes_twice():
    images, targets = np.zeros((103, 28, 28), np.uint8), torch.arange(103.0)[:, None]
    dataset = DeviceDataset(images, CPU, targets)
    alone, first, second = (
        BatchLoader(dataset, 32, 7, process, processes) for process, processes in ((0, 1), (0, 2), (1, 2))
    )
    orders = []
    for epoch in range(2):
        for loader in (alone, first, second):
            loader.set_epoch(epoch)
        steps = list(zip(numbers(alone), numbers(first), numbers(second), strict=True))
        assert len(steps) == 3
        for batch, *parts in steps:
            assert sorted(sum(parts, [])) == sorted(batch)
        order = sum((batch for batch, *_ in steps), [])
        assert len(set(order)) == len(order) == 96
        orders.append(order)
    assert orders[0] != orders[1]


def test_the_order_depends_on_seed_and_epoch_alone():
    dataset = DeviceDataset(np.zeros((20, 28, 28), np.uint8), CPU, torch.arange(20.0)[:, None])
    loaders = [BatchLoader(dataset, 5, seed) for seed in (1, 1, 2)]
    for loader in loaders:
        loader.set_epoch(3)
    same, again, other_seed = map(numbers, loaders)
    assert same == again != other_seed


def test_a_split_without_targets_gives_pixels_only():
    dataset = DeviceDataset(np.zeros((4, 28, 28, 3), np.uint8), CPU)
    assert set(dataset[slice(2)]) == {"pixels"}
    assert dataset[torch.tensor([0, 3])]["pixels"].shape == (2, 3, 28, 28)


def test_too_many_images_for_the_memory_are_refused_with_the_numbers():
    check_memory(10, 224)
    with pytest.raises(MedvitError, match=r"images of 224 pixels take 150528\.0 GB of memory, and"):
        check_memory(10**9, 224)
