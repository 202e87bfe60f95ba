"""Shared pieces: phantom archives, a tiny pretrained ViT, a trained checkpoint, the real data if there."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from medvit import files
from medvit.checkpoint import DEFAULT_ROOT, discover
from medvit.data import medmnist, synthetic
from medvit.imaging.preprocess import Preprocessing

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED, DAMAGED = discover(DEFAULT_ROOT)

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory) -> Path:
    """A data root with small archives of phantoms, one for each kind of task."""
    root = tmp_path_factory.mktemp("phantoms")
    for name in (*medmnist.MAIN, "chestmnist"):
        synthetic.write_archive(name, root)
    return root


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> Path:
    """A folder with a tiny ViT, as a hub would give it: 32 pixels, patch 8, a head of ten classes."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=64, num_labels=10,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(Preprocessing(32).to_json()))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, synthetic_root) -> Path:
    """A root with one checkpoint, breastmnist/spt_lsa, trained by the command on phantoms."""
    root = tmp_path_factory.mktemp("trained")
    done = run_script(
        "train.py", "--subset", "breastmnist", "--model", "spt_lsa", "--epochs", "2",
        "--data-root", synthetic_root, "--out", root / "breastmnist" / "spt_lsa",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


def run_script(name: str, *arguments) -> subprocess.CompletedProcess:
    """Run scripts/<name> as a user would."""
    command = [sys.executable, REPOSITORY / "scripts" / name, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)


@contextmanager
def running_app(*arguments, log: Path, data_root: Path = Path("/nonexistent")):
    """Start app.py on a free port; yields its address, and stops it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, REPOSITORY / "app.py", "--port", str(port), *map(str, arguments)]
    environment = os.environ | {"MEDVIT_DATA": str(data_root)}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):  # ten minutes: importing torch can be slow on a busy machine
            time.sleep(0.5)
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                continue
        yield address
    finally:
        process.terminate()
        process.wait(20)


def official_test_split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The official test images and labels; skips the test where they are not on disk."""
    path = medmnist.archive_path(name)
    if not path.is_file() or files.md5sum(path) != medmnist.get(name).md5[28]:
        pytest.skip(f"the official {name} archive is not in {path.parent} (set MEDVIT_DATA)")
    return medmnist.load_split(name, "test")
