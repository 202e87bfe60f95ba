"""Train one model on one MedMNIST dataset, or on one's own pictures, and write a checkpoint folder.

medvit train --subset bloodmnist --model spt_lsa
medvit train --subset breastmnist --model vit_finetuned --backbone google/vit-base-patch16-224
medvit train --data scans/ --model vit_finetuned                                 # a folder for each class
medvit train --subset breastmnist --model spt_lsa --preset quick                 # a first look in minutes
accelerate launch --num_processes 2 -m medvit train --subset pathmnist --model vit         # two GPUs
"""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from medvit import checkpoint, models
from medvit.commands.dataset_options import (
    add_dataset,
    add_size,
    card_options,
    name_of,
    open_requested,
    source_size,
)
from medvit.data import Dataset
from medvit.data import duplicates as duplicate_pictures
from medvit.errors import MedvitError
from medvit.training import cross_validation, recipes
from medvit.training.fit_model import TrainingSetup
from medvit.training.train import describe, train
from medvit.training.trainer import ENGINES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit train`."""
    _add_model(parser.add_argument_group("model"))
    _add_recipe(parser.add_argument_group("recipe"))
    _add_run(parser.add_argument_group("run"))


def _add_model(group: argparse._ArgumentGroup) -> None:
    add_dataset(group)
    add = group.add_argument
    add(
        "--model",
        required=True,
        choices=models.NAMES,
        help="vit_finetuned starts from a pretrained ViT and needs the fewest epochs; the others start from "
        "random weights. spt_lsa is made for small datasets, vit is its plain counterpart, cnn the baseline",
    )
    add(
        "--backbone",
        default=models.DEFAULT_BACKBONE,
        metavar="ID_OR_FOLDER",
        help="for vit_finetuned, and ignored for the others: any ViT on the Hugging Face hub, or a folder "
        "with one. The default has 5.5 million parameters and trains on a laptop; "
        "google/vit-base-patch16-224 has 86 million and needs a GPU [%(default)s]",
    )
    add(
        "--initial-checkpoint",
        type=Path,
        metavar="FOLDER",
        help="start from the weights of a checkpoint of the same architecture, of this dataset or another",
    )
    add(
        "--teachers",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="checkpoints of this dataset, of any architecture, whose mean prediction for each image is "
        "learned too (knowledge distillation; its fraction: --set distill=0.7). Self-distillation needs "
        "none: --set distill_folds=5",
    )


def _add_recipe(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--preset",
        choices=recipes.PRESETS,
        default="full",
        help="'quick' is for a first look in minutes: a tenth of the epochs on at most 5,000 images [full]",
    )
    add(
        "--strategy",
        default="full",
        help="which parameters of a pretrained ViT are trained: full, last-K (the last K blocks), linear "
        "(the head), lora or rlrr. The last two learn few parameters, merged when saved [full]",
    )
    add("--epochs", type=int, help="fewer for a quick look [the recipe's]")
    add("--batch-size", type=int, help="lower it when memory runs out [the recipe's]")
    add("--learning-rate", type=float, help="peak of the cosine schedule [the recipe's]")
    add(
        "--image-size",
        type=int,
        help="input side of the model in pixels. More adds no detail to a 28-pixel image and costs time by "
        "the square, but gives a pretrained ViT a finer grid of patches; where it is no multiple of the "
        "patch size, the patches become smaller: 28 gives 7 x 7 of 4 pixels, as many as 112 of 16 "
        "[that of --initial-checkpoint, else the recipe's]",
    )
    add("--train-images", type=int, help="train on a stratified sample of this size [the recipe's]")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="other fields of the recipe, such as ema=0.999 cutmix=0.5 patch_dropout=0.5 layer_decay=0.7 "
        "class_weight_power=0.5, or of its augmentation: brightness=0.4 jpeg=0.5; any other goes to the "
        "architecture: drop_path=0.2, or spt=false lsa=false",
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--seed", type=int, default=0, help="train several and report their mean; one seed proves little [0]")
    add_size(group)
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="checkpoint folder to write; `medvit app --checkpoints runs/seed0` shows those of seed 0 "
        "[runs/seed<N>/<subset>/<model>]",
    )
    add("--resume", action="store_true", help="go on from the last saved epoch of a run that was stopped")
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="how a step runs: eager, recorded as a CUDA graph, or through torch.compile, which takes a "
        "minute to start and pays in long runs [CUDA graphs where one process has a GPU, else eager]",
    )
    add(
        "--no-trust",
        action="store_true",
        help="leave out trust.npz (calibration, prediction sets, out-of-distribution scores), which takes "
        "one core some five minutes; `medvit evaluate --fit FOLDER` makes it later",
    )
    add(
        "--fold",
        metavar="I/K",
        help="cross-validate: train without fold I of K of the training and validation images, and write "
        "only the metrics on that fold, to the JSON file --out; I counts through all repeats from 0",
    )


def parse_recipe(args: argparse.Namespace) -> recipes.Recipe:
    """Return the recipe that the arguments describe.

    Raises:
        MedvitError: --set has something that is not FIELD=VALUE, or a value of another type than the field's;
            the initial checkpoint is damaged; or --strategy is for another model.
    """
    if args.model != "vit_finetuned" and args.strategy != "full":
        raise MedvitError(f"--strategy is for vit_finetuned: all parameters of a {args.model} are trained.")
    recipe = recipes.recipe(name_of(args), args.model, source_size(args), args.strategy, args.preset)
    if args.initial_checkpoint:
        size = checkpoint.load(args.initial_checkpoint).preprocessing.size
        recipe = dataclasses.replace(recipe, image_size=size)
    given = {name: value for name in recipes.FLAGS if (value := getattr(args, name)) is not None}
    return dataclasses.replace(recipes.change(recipe, args.set), **given)


def parse_command(command: str) -> argparse.Namespace:
    """Parse a `medvit train` command line, such as that of a card."""
    program, name, *arguments = shlex.split(command)
    if (program, name) != ("medvit", "train"):
        raise MedvitError(f"{command!r} is not a `medvit train` command.")
    return parse(arguments)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options of `medvit train`."""
    parser = _Parser("medvit train", allow_abbrev=False)
    add_arguments(parser)
    return parser.parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    """One that raises a MedvitError where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        raise MedvitError(f"`medvit train` does not take these options: {message}.")


def describe_run(args: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Return what identifies the run of the arguments: what its card, or the file of its fold, will say."""
    setup = _setup(args, dataset, parse_recipe(args))
    return cross_validation.describe_fold(setup, *_fold(args)) if args.fold else describe(setup)


def run(args: argparse.Namespace) -> None:
    """Train, and write the checkpoint folder or, with --fold, the metrics of the fold."""
    recipe = parse_recipe(args)
    models.check_image_size(args.model, recipe.image_size or 0, recipe.config.get("patch_size"))
    is_first = os.environ.get("RANK", "0") == "0"
    dataset = open_requested(args, announce=is_first)
    if dataset.own and is_first:
        for sentence in duplicate_pictures.find(dataset).sentences():
            print(f"{dataset.title}: {sentence}", file=sys.stderr)
    if args.fold:
        out = _run_fold(args, dataset, recipe)
    else:
        out = train(
            dataset,
            args.model,
            recipe,
            args.out or Path("runs") / f"seed{args.seed}" / dataset.name / args.model,
            backbone=args.backbone,
            initial_checkpoint=args.initial_checkpoint,
            teachers=args.teachers,
            seed=args.seed,
            size=source_size(args),
            data_root=args.data_root,
            resume=args.resume,
            engine=args.engine,
            trust=not args.no_trust,
            data_options=card_options(args),
        )
    if torch.distributed.is_initialized():  # its remaining threads can crash the end of a process
        torch.distributed.destroy_process_group()
    if is_first:
        print(f"Wrote {out}." if args.fold else f"Wrote {out}. Look at it: medvit evaluate {out}")


def _run_fold(args: argparse.Namespace, dataset: Dataset, recipe: recipes.Recipe) -> Path:
    fold, folds = _fold(args)
    out = args.out or Path("runs") / f"folds{folds}" / dataset.name / args.model / f"fold{fold}.json"
    return cross_validation.evaluate_fold(_setup(args, dataset, recipe), fold, folds, out, args.resume)


def _fold(args: argparse.Namespace) -> tuple[int, int]:
    """The fold and the number of folds of --fold."""
    try:
        fold, folds = map(int, args.fold.split("/"))
    except ValueError as error:
        raise MedvitError(f"--fold must be I/K, such as 0/5, not {args.fold!r}.") from error
    return fold, folds


def _setup(args: argparse.Namespace, dataset: Dataset, recipe: recipes.Recipe) -> TrainingSetup:
    return TrainingSetup(
        dataset,
        args.model,
        recipe,
        args.seed,
        args.backbone,
        args.initial_checkpoint,
        tuple(args.teachers),
        source_size(args),
        args.data_root,
        args.engine,
        data_options=tuple(card_options(args)),
    )
