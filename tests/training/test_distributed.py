"""Two processes, joined by gloo on CPUs, train what one does."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from medvit import checkpoint
from medvit.data import synthetic

from ..conftest import REPOSITORY

# Without anything that each process draws at random for itself.
DETERMINISTIC = (
    "flip_x=false", "degrees=0", "scale=0", "translate=0", "brightness=0", "contrast=0", "drop_path=0",
    "mixup=0", "cutmix=0", "ema=0.9", "hidden_size=48", "num_hidden_layers=3",
)  # fmt: skip


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node")
# With --cpu, accelerate starts one process, whatever their number; without a GPU, --multi_gpu starts all.
ACCELERATE = (
    "accelerate.commands.launch", "--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no",
    "--multi_gpu", "--num_processes",
)  # fmt: skip


def launch(launcher, processes, tmp_path, *options):
    """Run `medvit train` in several processes; the checkpoint, and what was printed."""
    out = tmp_path / f"by{processes}"
    command = [sys.executable, "-m", *launcher, processes, "-m", "medvit", "train", "--out", out, *options]
    command += ["--set", *DETERMINISTIC]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MEDVIT_CACHE": str(tmp_path / f"cache{processes}"),
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return checkpoint.load(out), done.stdout


@pytest.mark.slow
def test_two_processes_train_what_one_does(synthetic_root, tmp_path):
    options = ["--subset", "breastmnist", "--model", "spt_lsa", "--data-root", synthetic_root, "--no-trust"]
    options += ["--epochs", 3, "--batch-size", 16]
    (single, _), (double, _) = (launch(TORCHRUN, number, tmp_path, *options) for number in (1, 2))
    check_equal(single, double)


@pytest.mark.slow
def test_two_processes_train_on_a_folder_of_pictures_and_write_once(tmp_path):
    scans = synthetic.write_pictures(tmp_path / "scans", each=14)
    options = ["--data", scans, "--size", 32, "--model", "vit", "--epochs", 2, "--batch-size", 8]
    single, _ = launch(TORCHRUN, 1, tmp_path, *options)
    double, printed = launch(ACCELERATE, 2, tmp_path, *options)
    check_equal(single, double)
    assert double.dataset == single.dataset
    assert double.trust is not None
    assert (printed.count("Preparing scans: 42 pictures"), printed.count("Wrote ")) == (1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by1", "by2", "cache1", "cache2", "scans"]


def check_equal(single, double):
    """Check that the checkpoint of two processes is that of one, up to the order of sums."""
    assert (single.card["processes"], double.card["processes"]) == (1, 2)
    for first, second in zip(single.card["history"], double.card["history"], strict=True):
        np.testing.assert_allclose(second["train_loss"], first["train_loss"], rtol=0.01)
        np.testing.assert_allclose(second["val_loss"], first["val_loss"], rtol=0.01)
    for name, weight in single.model.state_dict().items():
        difference = (double.model.state_dict()[name] - weight).norm() / weight.norm().clamp(min=1e-3)
        # In bfloat16, where the order of sums matters, small biases differ most.
        assert difference < 0.05, (name, float(difference))
    torch.testing.assert_close(
        torch.from_numpy(double.test_logits).float(),
        torch.from_numpy(single.test_logits).float(),
        atol=0.05,
        rtol=0.05,
    )
