"""Training speed, beside PIL images through ViTImageProcessor one by one and the Trainer's defaults.

On a CPU both use one thread, and the seconds are those of the process, so that other work on the machine
matters little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from medvit.argument_types import at_least
from medvit.benchmarks.common import Measurement
from medvit.data import medmnist
from medvit.imaging import Preprocessing
from medvit.models.fast_training import optimize_for_training
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule, training_targets
from medvit.training.recipes import Recipe, recipe
from medvit.training.trainer import (
    ENGINES,
    EmaAndBestCallback,
    MedvitTrainer,
    Validation,
    training_arguments,
)

BLOOD = medmnist.get("bloodmnist")
CLASSES = len(BLOOD.classes)
WARM_UP = 2  # steps that are not timed
ON_GPU = torch.cuda.is_available()
REFERENCE_BATCH = 8  # the Trainer's default
clock = time.perf_counter if ON_GPU else time.process_time
Rates = dict[str, list[float]]  # images/s in each round


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark train`."""
    add = parser.add_argument
    add(
        "--images",
        type=at_least(1),
        default=8192 if ON_GPU else 32,
        help="timed in each round; the more the steadier [%(default)s]",
    )
    add("--rounds", type=at_least(1), default=3, help="pairs of measurements; the median ratio counts [3]")
    add(
        "--batch-size",
        type=at_least(1),
        default=256 if ON_GPU else 8,
        help="ours; the reference has 8 [%(default)s]",
    )
    add("--engine", choices=ENGINES, default="auto", help="how our steps run, see `medvit train` [auto]")
    add("--compile", action="store_true", help="also the models from scratch, eager and compiled; minutes")


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the rates of input and training, the speed-ups, and on a GPU the fraction of its peak."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not ON_GPU:
        torch.set_num_threads(1)
    device = torch.device("cuda" if ON_GPU else "cpu")
    default = recipe("bloodmnist", "vit_finetuned").image_size
    assert default is not None
    rates = _rates(args, device, default)
    for name, values in rates.items():
        yield Measurement(name, statistics.median(values), "images/s")
    for side in (28, default, 224):
        value = _speedup(rates, f"input.ours_{side}", "input.reference")
        yield Measurement(f"input.speedup_{side}", value, "x", 50, at_least=True)
    same, smaller = (_speedup(rates, f"train.ours_{side}", "train.reference_224") for side in (224, default))
    yield Measurement("train.speedup_same_size", same, "x", 20 if ON_GPU else 1.2, at_least=True)
    yield Measurement("train.speedup_default_size", smaller, "x", 3, at_least=True)
    for name in ("reference_224", f"ours_{default}"):
        rate = statistics.median(rates[f"train.{name}"])
        yield Measurement(f"epoch.{name}", BLOOD.samples["train"] / rate, "s, BloodMNIST")
    if args.compile:
        for name in ("cnn", "vit", "spt_lsa"):
            yield Measurement(f"train.compile_{name}", compile_speedup(name, args.rounds), "x")
    if ON_GPU:
        yield from _on_gpu(args, device, default, rates)


def _rates(args: argparse.Namespace, device: torch.device, default: int) -> Rates:
    """Images/s of input and of training, reference and ours taking turns."""
    count = args.images + WARM_UP * args.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    labels = np.arange(count) % CLASSES
    dataset = DeviceDataset(images, device)
    rates: Rates = {}
    for _ in range(args.rounds):
        reference = reference_input(images[: min(count, 256)], device)
        rates.setdefault("input.reference", []).append(reference)
        for side in (28, default, 224):
            rates.setdefault(f"input.ours_{side}", []).append(our_input(dataset, side, args.batch_size))
    for _ in range(args.rounds):
        # On a GPU the reference would take minutes for as many images as ours.
        reference = reference_training(images, labels, min(args.images, 1024))
        rates.setdefault("train.reference_224", []).append(reference)
        for side in (224, default):
            rate = our_training(vit_tiny(side), side, images, labels, args)
            rates.setdefault(f"train.ours_{side}", []).append(rate)
    return rates


def _speedup(rates: Rates, ours: str, reference: str) -> float:
    return statistics.median(a / b for a, b in zip(rates[ours], rates[reference], strict=True))


def _on_gpu(
    args: argparse.Namespace, device: torch.device, default: int, rates: Rates
) -> Iterator[Measurement]:
    peak = matrix_peak(device)
    yield Measurement("bf16_matrix_peak", peak / 1e12, "TFLOP/s")
    for side in (224, default):
        rate = statistics.median(rates[f"train.ours_{side}"]) * 3 * forward_flops(side)
        yield Measurement(f"train.fraction_of_peak_{side}", rate / peak, "")
    yield Measurement("spt_lsa.100_epochs", hundred_epochs(device, args.engine), "s, BloodMNIST", 30)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def vit_tiny(side: int) -> ViTForImageClassification:
    """Return a ViT-Tiny/16 with random weights; the weights do not matter for the speed."""
    config = ViTConfig(image_size=side, hidden_size=192, num_attention_heads=3, intermediate_size=768)
    config.num_labels = CLASSES
    return ViTForImageClassification(config)


class ProcessorDataset(Dataset):
    """The reference: a PIL image through the processor at each access, as tutorials have it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.processor = ViTImageProcessor(size={"height": 224, "width": 224})

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = self.processor(Image.fromarray(self.images[index]), return_tensors="pt")["pixel_values"][0]
        return {"pixel_values": pixels, "labels": int(self.labels[index])}


def reference_input(images: np.ndarray, device: torch.device) -> float:
    """Images/s through the processor to the device, in batches of 8."""
    dataset = ProcessorDataset(images, np.zeros(len(images)))
    started = clock()
    for batch in DataLoader(dataset, batch_size=REFERENCE_BATCH, shuffle=True):
        batch["pixel_values"].to(device)
    synchronize(device)
    return len(images) / (clock() - started)


def our_input(dataset: DeviceDataset, side: int, batch_size: int) -> float:
    """Images/s drawn at random, normalised and enlarged; without augmentation, as in the reference."""
    loader, preprocessing = BatchLoader(dataset, batch_size, seed=0), Preprocessing(side)
    elapsed, images = 0.0, 0
    while elapsed < 0.2 or images < 2 * batch_size:
        loader.set_epoch(loader.epoch + 1)
        synchronize(dataset.device)
        started = clock()
        for batch in loader:
            preprocessing(batch["pixels"])
        synchronize(dataset.device)
        if loader.epoch > 1:  # the first epoch warms up
            elapsed += clock() - started
            images += len(loader) * loader.batch_size
    return images / elapsed


class Stopwatch(TrainerCallback):
    """Measures the seconds of training from the end of the `WARM_UP`-th step to the end of the last."""

    seconds = float("nan")

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP:
            synchronize(args.device)
            self.started = clock()

    def on_train_end(self, args, state, control, **kwargs):
        synchronize(args.device)
        self.seconds = clock() - self.started


def reference_training(images: np.ndarray, labels: np.ndarray, timed: int) -> float:
    """Images/s of the Trainer with its defaults, on the input of the reference."""
    count = timed // REFERENCE_BATCH * REFERENCE_BATCH
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
        part = slice(count + WARM_UP * REFERENCE_BATCH)
        dataset = ProcessorDataset(images[part], labels[part])
        trainer = Trainer(vit_tiny(224), options, train_dataset=dataset, callbacks=[watch])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return count / watch.seconds


def our_training(
    model: torch.nn.Module, side: int, images: np.ndarray, labels: np.ndarray, args: argparse.Namespace
) -> float:
    """Images/s of our trainer, augmentation included."""
    options = replace(recipe("bloodmnist", "vit_finetuned"), epochs=1, batch_size=args.batch_size)
    watch = Stopwatch()
    trainer = build_trainer(model, Preprocessing(side), options, images, labels, args.engine, [watch])
    trainer.train()
    return (len(trainer.loader) - WARM_UP) * args.batch_size / watch.seconds


def build_trainer(
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    options: Recipe,
    images: np.ndarray,
    labels: np.ndarray,
    engine: str,
    callbacks: Sequence[TrainerCallback] = (),
    validation_images: int = 0,
) -> MedvitTrainer:
    """Return our trainer as `medvit.training.trainer.fit` builds it; the first images are the validation."""
    work = Path(tempfile.gettempdir()) / "medvit-benchmark"
    args = training_arguments(options, work, seed=0, evaluate=validation_images > 0)
    args.disable_tqdm = True
    optimize_for_training(model, args.device)
    module = TrainingModule(model, preprocessing, options).to(args.device)
    dataset = DeviceDataset(images, args.device, training_targets(labels, CLASSES, options))
    held_out = slice(validation_images)
    validation = Validation(DeviceDataset(images[held_out], args.device), labels[held_out], BLOOD.task)
    best = EmaAndBestCallback(module, save_seconds=float("inf"))
    trainer = MedvitTrainer(
        module,
        args,
        BatchLoader(dataset, options.batch_size, seed=0),
        validation if validation_images else None,
        engine,
        callbacks=[best, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def compile_speedup(name: str, rounds: int, timed_steps: int = 4) -> float:
    """How much faster a model from scratch trains compiled than eagerly, in batches of its recipe."""
    options = replace(recipe("bloodmnist", name), epochs=1)
    count = (WARM_UP + timed_steps) * options.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    elapsed: dict[str, list[float]] = {"eager": [], "compile": []}
    for _ in range(rounds):
        for engine, values in elapsed.items():
            watch = Stopwatch()
            model, preprocessing = models.build(name, BLOOD)
            labels = np.arange(count) % CLASSES
            build_trainer(model, preprocessing, options, images, labels, engine, [watch]).train()
            values.append(watch.seconds)
    return statistics.median(a / b for a, b in zip(elapsed["eager"], elapsed["compile"], strict=True))


def hundred_epochs(device: torch.device, engine: str) -> float:
    """Seconds of 100 epochs of spt_lsa on as many images as BloodMNIST has, each epoch validated."""
    count = BLOOD.samples["train"]
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    options = replace(recipe("bloodmnist", "spt_lsa"), epochs=100)
    model, preprocessing = models.build("spt_lsa", BLOOD)
    labels = np.arange(count) % CLASSES
    trainer = build_trainer(
        model, preprocessing, options, images, labels, engine, validation_images=BLOOD.samples["val"]
    )
    return seconds(trainer.train, device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that `run` takes."""
    synchronize(device)
    started = clock()
    run()
    synchronize(device)
    return clock() - started


def forward_flops(side: int) -> int:
    """Floating-point operations of ViT-Tiny for one image; a training step takes three times as many."""
    with FlopCounterMode(display=False) as counter:
        vit_tiny(side)(pixel_values=torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def matrix_peak(device: torch.device, side: int = 8192) -> float:
    """FLOP/s of a large bf16 matrix product of random numbers, the best of ten."""
    a, b = torch.randn(2, side, side, device=device).bfloat16()
    a @ b
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(10))
