"""Fixtures for all tests: synthetic archives, a tiny pretrained ViT, a trained checkpoint, a running app."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # the workers share the cores; the processes that they start do too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from filelock import FileLock
from gradio_client import Client
from transformers import (
    AutoModelForImageClassification,
    ConvNextImageProcessor,
    ResNetConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from medvit import cli, files
from medvit.benchmarks import hostile_files as hostile
from medvit.checkpoint import DEFAULT_ROOT, discover
from medvit.data import medmnist, synthetic
from medvit.imaging import Preprocessing

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED, DAMAGED = discover(DEFAULT_ROOT)

torch.set_num_threads(1 if WORKER else 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the server run in one worker."""
    for item in items:
        if "app_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)
            item.add_marker(pytest.mark.xdist_group("server"))


@pytest.fixture(scope="session")
def build_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`build_once(name, build)`: a folder that one worker builds by `build(folder)` and all workers share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if WORKER else base

    def once(name: str, build: Callable[[Path], object]) -> Path:
        folder = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not folder.is_dir():
                unfinished = shared / f"{name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                build(unfinished)
                unfinished.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def synthetic_root(build_once) -> Path:
    """A data root with small archives of synthetic images, one for each kind of task. Only read it."""

    def build(folder: Path) -> None:
        for name in (*medmnist.MAIN, "chestmnist"):
            synthetic.write_archive(name, folder)

    return build_once("synthetic", build)


@pytest.fixture(scope="session")
def hostile_files() -> dict[str, bytes]:
    """Some 500 files made to crash or exhaust a program that opens images, name -> content; none is large."""
    return dict(hostile.small()) | dict(hostile.repeated(scale=0.02))


@pytest.fixture(scope="session")
def backbone(build_once) -> Path:
    """A folder with a tiny ViT, as from the hub: 32 pixels, patch 8, a head of ten classes. Only read it."""

    def build(folder: Path) -> None:
        torch.manual_seed(0)
        config = ViTConfig(
            image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
            intermediate_size=64, num_labels=10,
        )  # fmt: skip
        ViTForImageClassification(config).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(Preprocessing(32).to_json()))

    return build_once("backbone", build)


@pytest.fixture(scope="session")
def own_models(build_once) -> Path:
    """A folder of small models with random weights, as other programs write them. Only read it.

    vit and resnet by transformers, for 32 and 48 pixels; timm by timm, for 64 where its name says 224;
    imagenet with 1,000 classes; blood with the classes of BloodMNIST, in another order.
    """

    def build(folder: Path) -> None:
        torch.manual_seed(0)
        timm = pytest.importorskip("timm")
        vit = dict(image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=3, num_attention_heads=2)
        sizes = dict(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        blood = medmnist.get("bloodmnist").classes[::-1]
        for name, config in {
            "vit": ViTConfig(**vit, intermediate_size=48, id2label={0: "cat", 1: "dog", 2: "<b>hat</b>"}),
            "imagenet": ViTConfig(**vit, intermediate_size=48, num_labels=1000),
            "blood": ViTConfig(**vit, intermediate_size=48, id2label=dict(enumerate(blood))),
            "resnet": ResNetConfig(**sizes, num_labels=4),
        }.items():
            AutoModelForImageClassification.from_config(config).save_pretrained(folder / name)
            processor = ViTImageProcessor(size={"height": 32, "width": 32})
            if name == "resnet":
                processor = ConvNextImageProcessor(size={"shortest_edge": 48}, crop_pct=0.875)
            processor.save_pretrained(folder / name)
        arguments = dict(img_size=64, depth=2, num_classes=3)
        model = timm.create_model("vit_tiny_patch16_224", **arguments)
        timm.models.save_for_hf(
            model, folder / "timm", model_config={"label_names": ["a", "b", "c"]}, model_args=arguments,
            safe_serialization=True,
        )  # fmt: skip

    return build_once("own_models", build)


@pytest.fixture(scope="session")
def trained(build_once, synthetic_root) -> Path:
    """A root with one checkpoint, breastmnist/spt_lsa, trained on synthetic images. Only read it."""

    def build(folder: Path) -> None:
        done = run_command(
            "train", "--subset", "breastmnist", "--model", "spt_lsa", "--epochs", "2",
            "--data-root", synthetic_root, "--out", folder / "breastmnist" / "spt_lsa",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return build_once("trained", build)


@dataclass(frozen=True)
class Server:
    """A running app: its address, a client of its API, the file with its output, the folder of uploads."""

    address: str
    client: Client
    log: Path
    uploads: Path


@pytest.fixture(scope="session")
def app_server(trained, tmp_path_factory) -> Iterator[Server]:
    """One app over the trained checkpoint, without data; for tests that leave it as it is."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    temporary = tmp_path_factory.mktemp("temporary")
    with running_app("--checkpoints", trained, "--log", log=log, temporary=temporary) as address:
        uploads = next(temporary.glob("medvit-uploads-*"))
        yield Server(address, Client(address, verbose=False), log, uploads)
    assert not list(temporary.glob("medvit-uploads-*")), "the uploads outlived the server"
    assert "Traceback" not in log.read_text()


def standardise_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processors of ViTs do what no normalisation of each channel does."""
    plain = ViTImageProcessor.__call__

    def standardise(self, *args, **kwargs):
        batch = plain(self, *args, **kwargs)
        values = batch["pixel_values"]
        batch["pixel_values"] = (values - values.mean()) / (values.std() + 1e-6)
        return batch

    monkeypatch.setattr(ViTImageProcessor, "__call__", standardise)


def run_command(*arguments: object) -> subprocess.CompletedProcess:
    """Run `medvit ARGUMENTS` in this process: its exit status, standard output and standard error."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as ended:  # argparse
            status = ended.code
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run scripts/<name> as a user would, in a process of its own."""
    command = [sys.executable, REPOSITORY / "scripts" / name, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)


@contextmanager
def running_app(
    *arguments: object,
    log: Path,
    data_root: Path = Path("/nonexistent"),
    temporary: Path | None = None,
    code: str | None = None,
) -> Iterator[str]:
    """Start app.py on a free port; yields its address, and stops it at the end.

    Args:
        temporary: folder for its temporary files, instead of the system's.
        code: a program to run in place of app.py, with the same arguments.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = ["-c", code] if code else [REPOSITORY / "app.py"]
    command = [sys.executable, *program, "--port", str(port), *map(str, arguments)]
    environment = os.environ | {"MEDVIT_DATA": str(data_root)}
    if temporary:
        environment["TMPDIR"] = str(temporary)
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=REPOSITORY
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until the server answers, for ten minutes at most: importing torch can be slow."""
    for _ in range(3000):
        time.sleep(0.2)
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            continue
    raise TimeoutError(log.read_text())


def official_split(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The official images and labels of a split; skips the test where they are not on disk."""
    path = medmnist.archive_path(name)
    if not path.is_file() or files.md5sum(path) != medmnist.get(name).md5[28]:
        pytest.skip(f"the official {name} archive is not in {path.parent} (set MEDVIT_DATA)")
    return medmnist.load_split(name, split)
