"""Training speed, against PIL images through ViTImageProcessor one by one and the Trainer's defaults.

On a CPU both run on one thread and the seconds are those of the process, so that other work on the machine
matters little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from medvit import models
from medvit.data import medmnist
from medvit.imaging.preprocess import Preprocessing
from medvit.models.pretrained import optimize_for_training
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule
from medvit.training.recipes import Recipe, recipe
from medvit.training.train import arguments
from medvit.training.trainer import ENGINES, EmaAndBestCallback, MedvitTrainer

from .common import Figure

BLOOD = medmnist.get("bloodmnist")
WARM_UP = 2  # steps that are not timed
ON_GPU = torch.cuda.is_available()
clock = time.perf_counter if ON_GPU else time.process_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--images",
        type=int,
        default=8192 if ON_GPU else 32,
        help="timed in each round; the more the steadier [%(default)s]",
    )
    add("--rounds", type=int, default=3, help="pairs of measurements; the median ratio counts [3]")
    add(
        "--batch-size", type=int, default=256 if ON_GPU else 8, help="ours; the yardstick has 8 [%(default)s]"
    )
    add("--engine", choices=ENGINES, default="auto", help="how our steps run, see train.py [auto]")


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not ON_GPU:
        torch.set_num_threads(1)
    device = torch.device("cuda" if ON_GPU else "cpu")
    count = args.images + WARM_UP * args.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    labels = np.arange(count) % 8
    default = recipe("bloodmnist", "vit_finetuned").image_size
    assert default is not None

    data = DeviceDataset(images, labels, device)
    sides = (28, default, 224)
    rates: dict[str, list[float]] = {}

    def note(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    for _ in range(args.rounds):
        note("input.reference", reference_input(images[: min(count, 256)], device))
        for side in sides:
            note(f"input.ours_{side}", our_input(data, side, args.batch_size))
    for _ in range(args.rounds):
        # Slow and steady: on a GPU as many images as ours would take minutes.
        note("train.reference_224", reference_training(images, labels, min(args.images, 1024)))
        for side in (224, default):
            note(f"train.ours_{side}", our_training(vit_tiny(side), side, images, labels, args))

    for name, values in rates.items():
        yield Figure(name, statistics.median(values), "images/s")

    def speedup(ours: str, yardstick: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[ours], rates[yardstick], strict=True))

    for side in sides:
        value = speedup(f"input.ours_{side}", "input.reference")
        yield Figure(f"input.speedup_{side}", value, "x", 50, at_least=True)
    same, smaller = (speedup(f"train.ours_{side}", "train.reference_224") for side in (224, default))
    yield Figure("train.speedup_same_size", same, "x", 20 if device.type == "cuda" else 1.2, at_least=True)
    yield Figure("train.speedup_default_size", smaller, "x", 3, at_least=True)
    for name in ("reference_224", f"ours_{default}"):
        rate = statistics.median(rates[f"train.{name}"])
        yield Figure(f"epoch.{name}", BLOOD.samples["train"] / rate, "s, BloodMNIST")
    if device.type == "cuda":
        peak = matrix_peak(device)
        yield Figure("bf16_matrix_peak", peak / 1e12, "TFLOP/s")
        for side in (224, default):
            rate = statistics.median(rates[f"train.ours_{side}"]) * 3 * forward_flops(side)
            yield Figure(f"train.share_of_peak_{side}", rate / peak, "share")
        yield Figure("spt_lsa.100_epochs", hundred_epochs(device, args.engine), "s, BloodMNIST", 30)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def vit_tiny(side: int) -> ViTForImageClassification:
    """ViT-Tiny/16 with random weights, which train as fast as any."""
    config = ViTConfig(
        image_size=side, hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=8
    )
    return ViTForImageClassification(config)


class OneByOne(Dataset):
    """As tutorials have it: a PIL image through the processor at each access."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels
        self.processor = ViTImageProcessor(size={"height": 224, "width": 224})

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        pixels = self.processor(Image.fromarray(self.images[index]), return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": int(self.labels[index])}


def reference_input(images: np.ndarray, device: torch.device) -> float:
    """Images/s through the processor, in batches of 8, to the device."""
    loader = DataLoader(OneByOne(images, np.zeros(len(images))), batch_size=8, shuffle=True)
    started = clock()
    for batch in loader:
        batch["pixel_values"].to(device)
    wait(device)
    return len(images) / (clock() - started)


def our_input(data: DeviceDataset, side: int, batch_size: int) -> float:
    """Images/s chosen at random, normalised and enlarged; without augmentation, as the yardstick has none."""
    batches, preprocessing = BatchLoader(data, batch_size, seed=0), Preprocessing(side)
    seconds, images = 0.0, 0
    while seconds < 0.2 or images < 2 * batch_size:
        batches.set_epoch(batches.epoch + 1)
        wait(data.device)
        started = clock()
        for batch in batches:
            preprocessing(batch["pixels"])
        wait(data.device)
        if batches.epoch > 1:  # the first time warms up
            seconds += clock() - started
            images += len(batches) * batches.batch_size
    return images / seconds


class Stopwatch(TrainerCallback):
    """Seconds of training from the end of the `WARM_UP`-th step to that of the last."""

    seconds = float("nan")

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP:
            wait(args.device)
            self.started = clock()

    def on_train_end(self, args, state, control, **kwargs):
        wait(args.device)
        self.seconds = clock() - self.started


def reference_training(images: np.ndarray, labels: np.ndarray, timed: int) -> float:
    """Images/s of the Trainer with its defaults, on the yardstick's input."""
    count = timed // 8 * 8
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder,
            num_train_epochs=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=not ON_GPU,
        )
        part = slice(count + WARM_UP * options.per_device_train_batch_size)
        dataset = OneByOne(images[part], labels[part])
        trainer = Trainer(vit_tiny(224), options, train_dataset=dataset, callbacks=[watch])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return count / watch.seconds


def our_training(
    model: torch.nn.Module, side: int, images: np.ndarray, labels: np.ndarray, args: argparse.Namespace
) -> float:
    """Images/s of our engine, augmentation included."""
    settings = replace(recipe("bloodmnist", "vit_finetuned"), epochs=1, batch_size=args.batch_size)
    watch = Stopwatch()
    engine = build(model, Preprocessing(side), settings, images, labels, args.engine, [watch])
    engine.args.eval_strategy = "no"
    engine.train()
    return (len(engine.batches) - WARM_UP) * args.batch_size / watch.seconds


def build(
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    settings: Recipe,
    images: np.ndarray,
    labels: np.ndarray,
    engine: str,
    callbacks: list[TrainerCallback],
    validation: int = 8,
) -> MedvitTrainer:
    """Our engine as `medvit.training.run.train` makes it; the first images stand in for validation."""
    options = arguments(settings, Path(tempfile.gettempdir()) / "medvit-benchmark", seed=0)
    options.disable_tqdm = True
    optimize_for_training(model, options.device)
    classifier = TrainingModule(model, preprocessing, settings, labels, 8).to(options.device)
    data = DeviceDataset(images, labels, options.device)
    held_out = DeviceDataset(images[:validation], labels[:validation], options.device)
    batches = BatchLoader(data, settings.batch_size, seed=0)
    keeper = EmaAndBestCallback(classifier, save_seconds=float("inf"))
    trainer = MedvitTrainer(
        classifier, options, batches, held_out, BLOOD, engine, callbacks=[keeper, *callbacks]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def hundred_epochs(device: torch.device, engine: str) -> float:
    """Seconds of 100 epochs of spt_lsa on as many images as BloodMNIST has, each epoch validated."""
    count = BLOOD.samples["train"]
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    settings = replace(recipe("bloodmnist", "spt_lsa", effort="gpu"), epochs=100)
    model, preprocessing = models.build("spt_lsa", BLOOD)
    labels = np.arange(count) % 8
    trainer = build(model, preprocessing, settings, images, labels, engine, [], BLOOD.samples["val"])
    return seconds(trainer.train, device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long `run` takes."""
    wait(device)
    started = clock()
    run()
    wait(device)
    return clock() - started


def forward_flops(side: int) -> int:
    """Operations of ViT-Tiny for one image; a training step does three times as many."""
    with FlopCounterMode(display=False) as counter:
        vit_tiny(side)(pixel_values=torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def matrix_peak(device: torch.device, side: int = 8192) -> float:
    """FLOP/s of a large bf16 matrix product on random numbers, the best of ten."""
    a, b = torch.randn(2, side, side, device=device).bfloat16()
    a @ b
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(10))
