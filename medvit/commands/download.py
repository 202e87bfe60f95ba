"""Fetch MedMNIST archives and check their md5.

medvit download bloodmnist breastmnist
medvit download --all --size 64 --data-root data
"""

import argparse
import sys

from tqdm import tqdm

from medvit.data import medmnist
from medvit.errors import MedvitError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit download`."""
    add = parser.add_argument
    add("subsets", nargs="*", metavar="SUBSET", help=f"any of {', '.join(medmnist.names())}")
    add("--all", action="store_true", help=f"the five that ship with checkpoints: {', '.join(medmnist.MAIN)}")
    add(
        "--size",
        type=int,
        default=28,
        choices=medmnist.SIZES,
        help="source size; the shipped checkpoints take 28, and PathMNIST at 224 unpacks to 16 GB [28]",
    )
    add("--data-root", metavar="DIR", help="where the archives go [$MEDVIT_DATA, else ~/.medmnist]")


def run(args: argparse.Namespace) -> int:
    """Fetch each subset; one that fails does not stop the others."""
    subsets = dict.fromkeys([*args.subsets, *(medmnist.MAIN if args.all else ())])
    if not subsets:
        raise MedvitError("Name at least one subset, or --all.")
    status = 0
    for name in subsets:
        try:
            with tqdm(desc=name, unit="B", unit_scale=True, leave=False) as bar:
                path = medmnist.download(name, args.size, args.data_root, _Progress(bar))
            print(f"{path}: complete, md5 {medmnist.get(name).md5[args.size]}")
        except MedvitError as error:
            status = 1
            print(f"medvit download: {error}", file=sys.stderr)
    return status


class _Progress:
    """Moves a progress bar to (bytes done, bytes in total or 0)."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar

    def __call__(self, done: int, total: int) -> None:
        self.bar.total = total or None
        self.bar.update(done - self.bar.n)
