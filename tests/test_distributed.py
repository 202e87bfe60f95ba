"""Two processes, joined by gloo on CPUs, do what one does."""

import json
import os
import subprocess
import sys

import numpy as np
import torch

from medvit import checkpoint

from .conftest import REPOSITORY

# Without what is drawn at random in each process.
PLAIN = ("--effort", "cpu", "--epochs", "3", "--batch-size", "16", "--set", "drop_path=0", "ema=0.9")
STILL = """
import sys
from dataclasses import replace
sys.path.insert(0, {scripts!r})
import train
from medvit.training import recipes
from medvit.training.augment import Augmentation
still = Augmentation(flip_x=False, degrees=0, scale=0, translate=0, brightness=0, contrast=0)
recipes.AUGMENTATION["breastmnist"] = still
train.main()
"""


def launch(processes, tmp_path, synthetic_root):
    """Run scripts/train.py on images as they are, through torchrun."""
    script = tmp_path / "still.py"
    script.write_text(STILL.format(scripts=str(REPOSITORY / "scripts")))
    out = tmp_path / f"by{processes}"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
    command += [script, "--subset", "breastmnist", "--model", "spt_lsa", "--out", out]
    command += ["--data-root", synthetic_root, *PLAIN]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return checkpoint.load(out)


def test_two_processes_train_what_one_does(synthetic_root, tmp_path):
    one, two = (launch(processes, tmp_path, synthetic_root) for processes in (1, 2))
    assert (one.card["processes"], two.card["processes"]) == (1, 2)
    for first, second in zip(one.card["history"], two.card["history"], strict=True):
        np.testing.assert_allclose(second["train_loss"], first["train_loss"], rtol=0.01)
        np.testing.assert_allclose(second["val_loss"], first["val_loss"], rtol=0.01)
    for name, weight in one.model.state_dict().items():
        difference = (two.model.state_dict()[name] - weight).norm() / weight.norm().clamp(min=1e-3)
        assert difference < 0.02, (name, float(difference))
    assert json.loads((one.folder / "card.json").read_text())["seed"] == 0
    torch.testing.assert_close(
        torch.from_numpy(two.test_logits).float(),
        torch.from_numpy(one.test_logits).float(),
        atol=0.05,
        rtol=0.05,
    )
