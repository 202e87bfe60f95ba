"""Train the OOD reference model, which all checkpoints share to recognise out-of-distribution images.

medvit train-ood-reference --out runs/ood_reference

Less than an hour on one core. After it has replaced checkpoints/_ood_reference, fit the scores that rest on
it again: `medvit evaluate --all --fit`.
"""

import argparse
from pathlib import Path

from medvit.argument_types import at_least
from medvit.training.ood_reference import train_ood_reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit train-ood-reference`."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/ood_reference"), metavar="DIR", help="[%(default)s]")
    add("--epochs", type=at_least(1), default=7, help="of 500 steps each [7]")
    add("--seed", type=int, default=0, help="[0]")
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add("--resume", action="store_true", help="go on from the last saved epoch of a run that was stopped")


def run(args: argparse.Namespace) -> None:
    """Train and write the folder."""
    folder = train_ood_reference(args.out, args.epochs, args.seed, args.data_root, resume=args.resume)
    print(f"Wrote {folder}")
