"""Train one model on one MedMNIST subset and write a checkpoint folder.

python scripts/train.py --subset bloodmnist --model spt_lsa
python scripts/train.py --subset breastmnist --model vit_finetuned --backbone google/vit-base-patch16-224
accelerate launch --num_processes 2 scripts/train.py --subset pathmnist --model vit    # two GPUs
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

from medvit import checkpoint, models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.training import recipes
from medvit.training.train import train
from medvit.training.trainer import ENGINES


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--subset", required=True, choices=medmnist.names(), metavar="S", help=", ".join(medmnist.names()))
    add(
        "--model",
        required=True,
        choices=models.NAMES,
        help="vit_finetuned starts from a pretrained ViT and needs the fewest epochs; the others start from "
        "nothing. spt_lsa is made for small data sets, vit is its plain counterpart, cnn the baseline",
    )
    add(
        "--backbone",
        default=models.DEFAULT_BACKBONE,
        metavar="ID_OR_FOLDER",
        help="for vit_finetuned: any ViT on the Hugging Face hub, or a folder with one. The default has 5.5 "
        "million parameters and trains on a laptop; google/vit-base-patch16-224 has 86 million and wants a "
        "GPU [%(default)s]",
    )
    add(
        "--start",
        type=Path,
        metavar="FOLDER",
        help="go on from the weights of a checkpoint of the same architecture, of this subset or another",
    )
    add(
        "--teachers",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="checkpoints of this subset, of any architecture, whose mean answer to each image is learned "
        "too, such as several seeds in one model (knowledge distillation; its share: --set distill=0.7)",
    )
    add(
        "--strategy",
        default="full",
        help="what of a pretrained ViT is trained: full, last-K (the last K blocks), linear (the head), "
        "lora or rlrr. The last two learn few numbers, merged when saved; on small subsets last-K is known "
        "to beat full [full]",
    )
    add("--seed", type=int, default=0, help="run several and report their mean; one seed proves little [0]")
    add(
        "--effort",
        choices=recipes.EFFORTS,
        help="which recipe: 'cpu' ends in minutes on a laptop, 'gpu' has long schedules with MixUp, CutMix "
        "and averaged weights [gpu where there is one, else cpu]",
    )
    add("--epochs", type=int, help="fewer for a quick look, more where a GPU is at hand [the recipe's]")
    add("--batch-size", type=int, help="lower it when memory runs out [the recipe's]")
    add("--learning-rate", type=float, help="peak of the cosine schedule [the recipe's]")
    add(
        "--image-size",
        type=int,
        help="input side of the model in pixels. More adds no detail to a 28-pixel image and costs time by "
        "the square, but gives a pretrained ViT a finer grid of patches; where it is no multiple of the "
        "patch size, the patches become smaller: 28 gives 7 x 7 of 4 pixels, as many as 112 of 16 "
        "[that of --start, else the recipe's]",
    )
    add("--train-images", type=int, help="train on so many images only, class shares kept [the recipe's]")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="other fields of the recipe, such as ema=0.999 cutmix=0.5 layer_decay=0.7 balance=0.5, or of "
        "its augmentation: brightness=0.4 jpeg=0.5; any other goes to the architecture: drop_path=0.2, or "
        "spt=false lsa=false",
    )
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="how a step runs: eager, recorded as a CUDA graph, or through torch.compile, which takes a "
        "minute to start and pays in long runs [CUDA graphs where one process has a GPU, else eager]",
    )
    add("--size", type=int, default=28, choices=medmnist.SIZES, help="source size of the images [28]")
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="checkpoint folder to write; `python app.py --checkpoints runs/seed0` shows those of seed 0 "
        "[runs/seed<N>/<subset>/<model>]",
    )
    add(
        "--no-trust",
        action="store_true",
        help="leave out trust.npz (calibration, prediction sets, foreign images), which takes a core some "
        "five minutes; `python scripts/evaluate.py --fit FOLDER` makes it later",
    )
    add("--resume", action="store_true", help="go on where a killed run stopped, at its last whole epoch")
    return parser.parse_args()


def chosen_recipe(args: argparse.Namespace) -> recipes.Recipe:
    """The recipe that the arguments ask for.

    Raises:
        MedvitError: --set has something that is not FIELD=VALUE, or a value of another kind than the field's;
            the checkpoint to start from is damaged.
    """
    effort = args.effort or ("gpu" if torch.cuda.is_available() else "cpu")
    recipe = recipes.recipe(args.subset, args.model, args.size, args.strategy, effort)
    if args.start:
        recipe = dataclasses.replace(recipe, image_size=checkpoint.load(args.start).preprocessing.size)
    named = ("epochs", "batch_size", "learning_rate", "image_size", "train_images")
    chosen = {field: value for field in named if (value := getattr(args, field)) is not None}
    return dataclasses.replace(recipes.change(recipe, args.set), **chosen)


def main() -> None:
    args = parse()
    out = args.out or Path("runs") / f"seed{args.seed}" / args.subset / args.model
    try:
        train(
            args.subset,
            args.model,
            chosen_recipe(args),
            out,
            backbone=args.backbone,
            start=args.start,
            teachers=args.teachers,
            seed=args.seed,
            size=args.size,
            data_root=args.data_root,
            resume=args.resume,
            engine=args.engine,
            trust=not args.no_trust,
        )
    except MedvitError as error:
        sys.exit(f"train.py: {error}")
    if torch.distributed.is_initialized():  # threads of it left behind can crash the end of a process
        torch.distributed.destroy_process_group()
    if os.environ.get("RANK", "0") == "0":
        print(f"Wrote {out}. Look at it: python scripts/evaluate.py {out}")


if __name__ == "__main__":
    main()
