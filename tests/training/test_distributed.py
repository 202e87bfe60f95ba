"""Two processes, joined by gloo on CPUs, train what one does."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from medvit import checkpoint

from ..conftest import REPOSITORY

# Without anything that each process draws at random for itself.
DETERMINISTIC = (
    "flip_x=false", "degrees=0", "scale=0", "translate=0", "brightness=0", "contrast=0", "drop_path=0",
    "mixup=0", "cutmix=0", "ema=0.9", "hidden_size=48", "num_hidden_layers=3",
)  # fmt: skip


def launch(processes, tmp_path, synthetic_root):
    """Run `medvit train` through torchrun."""
    out = tmp_path / f"by{processes}"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
    command += ["-m", "medvit", "train", "--subset", "breastmnist", "--model", "spt_lsa", "--out", out]
    command += ["--data-root", synthetic_root, "--no-trust", "--epochs", "3", "--batch-size", "16"]
    command += ["--set", *DETERMINISTIC]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return checkpoint.load(out)


@pytest.mark.slow
def test_two_processes_train_what_one_does(synthetic_root, tmp_path):
    single, double = (launch(processes, tmp_path, synthetic_root) for processes in (1, 2))
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
