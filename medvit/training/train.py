"""One training run: real images in, a checkpoint folder out.

The epoch with the lowest validation log-loss is kept. The test split is read once, at the end.
"""

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import TrainingArguments

from medvit import checkpoint, files, models
from medvit.data import Dataset, medmnist, stratified_sample
from medvit.data.dataset import to_json
from medvit.evaluation.inference import hardware, predict
from medvit.evaluation.metrics import evaluate
from medvit.reliability import measure
from medvit.training.dataset import check_memory
from medvit.training.distillation import fit_with_distillation
from medvit.training.fit_model import FittedModel, TrainingSetup, build
from medvit.training.objective import bfloat16_is_faster
from medvit.training.recipes import Recipe, train_command
from medvit.training.trainer import FitResult, training_arguments
from medvit.training.work import already_exists, prepared_work, work_folder

SELECTION = "lowest validation log-loss"
# What a card repeats of the card of the initial checkpoint.
ORIGIN = ("subset", "seed", "recipe", "trained_on", "sha256", "backbone", "start")


def train(
    dataset: Dataset | str,
    model: str,
    recipe: Recipe,
    out: Path,
    *,
    backbone: str = models.DEFAULT_BACKBONE,
    initial_checkpoint: Path | None = None,
    teachers: Sequence[Path] = (),
    seed: int = 0,
    size: int = 28,
    data_root: str | Path | None = None,
    resume: bool = False,
    engine: str = "auto",
    save_seconds: float = 30.0,
    trust: bool = True,
    data_options: Sequence[str] = (),
) -> Path:
    """Train one model and write its checkpoint folder.

    Under ``accelerate launch`` or ``torchrun`` the processes share the work, each taking its part of every
    batch, and the first one writes the folder.

    Args:
        dataset: a dataset, or the name of a subset of MedMNIST.
        backbone, initial_checkpoint, teachers, data_options: see `TrainingSetup`.
        size: source size of the images in pixels.
        out: the folder to write. During training, the state to resume from is beside it, in
            ``.<name>.training``.
        resume: go on from that state, if there is any. A finished run is left as it is.
        engine: see `medvit.training.trainer.MedvitTrainer`.
        save_seconds: least time between two saved states; 0 saves after each epoch.
        trust: fit trust.npz at the end, see `medvit.reliability.measure.fit_and_measure`.

    Returns:
        `out`

    Raises:
        MedvitError: data absent, unusable backbone, initial checkpoint or teacher, an impossible recipe,
            `out` exists, or the saved state belongs to another run.
    """
    out = Path(out).resolve()
    setup = TrainingSetup(
        medmnist.get(dataset) if isinstance(dataset, str) else dataset,
        model,
        recipe,
        seed,
        backbone,
        initial_checkpoint,
        tuple(teachers),
        size,
        data_root,
        engine,
        save_seconds,
        tuple(data_options),
    )
    if out.exists() and not resume:
        raise already_exists(out)
    built = build(setup)
    setup = replace(setup, recipe=replace(recipe, image_size=built.preprocessing.size))
    description = describe(setup)
    work = work_folder(out)
    if out.exists():
        return _finished(out, description, work)
    images, labels = setup.load("train")
    chosen, groups = sample(labels, recipe, seed), setup.load_groups("train")
    training, validation = (images[chosen], labels[chosen]), setup.load("val")
    groups = None if groups is None else groups[chosen]
    check_memory(len(training[0]) + len(validation[0]), setup.size)
    with prepared_work(work, training_arguments(recipe, work, seed), description, resume):
        fitted, seconds = fit_with_distillation(setup, built, training, validation, work, groups)
    if fitted.args.process_index == 0:
        facts = {"trained_on": len(training[0]), "seconds": round(seconds, 1)}
        _write(out, setup, fitted, description | facts, trust)
        shutil.rmtree(work)
    return out


def sample(labels: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray | slice:
    """Return the indices of the stratified sample of training images that the recipe asks for, or of all."""
    if recipe.train_images is None:
        return slice(None)  # which copies no image
    return stratified_sample(labels, recipe.train_images, seed)


def describe(setup: TrainingSetup) -> dict[str, Any]:
    """Return what identifies a run, for its card and to recognise its saved state and its result."""
    dataset, name, recipe = setup.dataset, setup.model_name, setup.recipe
    backbone = _public_name(setup.backbone) if setup.fine_tunes else None
    initial = checkpoint.load(setup.initial_checkpoint).card if setup.initial_checkpoint else None
    teachers = [checkpoint.load(folder).card for folder in setup.teachers]
    description: dict[str, Any] = {
        "subset": dataset.name,
        "model": name,
        "seed": setup.seed,
        "recipe": asdict(recipe),
        "source_size": setup.size,
        "backbone": initial.get("backbone") if initial else backbone,
    }
    if dataset.own:
        description["dataset"] = to_json(dataset)
    if initial:
        description["start"] = {key: initial[key] for key in ORIGIN if key in initial}
    if teachers:
        keys = ("model", "seed", "sha256")
        description["teachers"] = [{key: teacher[key] for key in keys} for teacher in teachers]
    if not initial and not teachers:
        public = backbone or models.DEFAULT_BACKBONE
        description["command"] = train_command(
            dataset.name, name, recipe, setup.seed, setup.size, public, setup.data_options
        )
    return json.loads(json.dumps(description))


def _public_name(backbone: str) -> str:
    """A hub id as it is; of a folder its name, or the default hub id where that has this name."""
    if not Path(backbone).is_dir():
        return backbone
    name = Path(backbone).resolve().name
    return models.DEFAULT_BACKBONE if name == models.DEFAULT_BACKBONE.split("/")[-1] else name


def _finished(out: Path, description: dict[str, Any], work: Path) -> Path:
    """Return a folder that holds the result of this run, and delete the state that a kill left behind."""
    card = checkpoint.load(out).card
    if any(card.get(key) != value for key, value in description.items()):
        raise already_exists(out)
    shutil.rmtree(work, ignore_errors=True)
    return out


def training_environment(args: TrainingArguments, result: FitResult) -> dict[str, Any]:
    """Return what a card says about how the training went."""
    return {
        "history": result.history,
        "selection": SELECTION,
        "hardware": hardware(args.device),
        "engine": result.engine,
        "precision": "bfloat16" if bfloat16_is_faster(args.device) else "float32",
        "processes": args.world_size,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _write(
    out: Path, setup: TrainingSetup, fitted: FittedModel, description: dict[str, Any], trust: bool
) -> None:
    """Write the checkpoint folder, completely or not at all."""
    card = description | training_environment(fitted.args, fitted.result)
    card["strategy"] = setup.recipe.strategy if setup.fine_tunes else "from scratch"
    if not setup.dataset.own:
        archive = medmnist.archive_path(setup.dataset.name, setup.size, setup.data_root)
        card["data_md5"] = files.md5sum(archive)
    with files.atomic_folder(out) as folder:
        _export(folder, setup, fitted, card)
        if trust:
            measure.fit_and_measure(folder, setup.data_root, fitted.model.device)


def _export(folder: Path, setup: TrainingSetup, fitted: FittedModel, card: dict[str, Any]) -> None:
    """Fill a checkpoint folder; its metrics are those of the weights as stored, rounded to fp16."""
    torch.backends.cudnn.allow_tf32 = False  # metrics that a CPU confirms
    preprocessing, dataset = fitted.preprocessing, setup.dataset
    checkpoint.write_model(folder, fitted.model, preprocessing)
    stored: nn.Module = checkpoint.load_model(folder)
    stored.to(fitted.model.device)
    for split, key in (("val", "validation"), ("test", "test")):
        images, labels = setup.load(split)
        logits = checkpoint.to_half(predict(stored, preprocessing, images)[0])
        card[key] = evaluate(logits, labels, dataset.task, dataset.classes)
    checkpoint.write_test(folder, logits, labels)
    card["parameters"] = fitted.model.num_parameters()
    card["input_size"] = preprocessing.size
    card["interpolation"] = "bicubic" if preprocessing.size != setup.size else None
    metrics = {
        f"{key}_{name}": card[key][name]
        for key in ("validation", "test")
        for name in ("accuracy", "auc", "loss")
    }
    card["seeds"] = [{"seed": card["seed"]} | metrics]
    card["sha256"] = files.sha256(folder / checkpoint.WEIGHTS)
    card["config_sha256"] = files.sha256(folder / "config.json")
    checkpoint.write_card(folder, card)
