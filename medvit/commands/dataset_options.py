"""The options --subset and --data, by which commands name a dataset."""

import argparse
from pathlib import Path

from medvit.data import Dataset, medmnist
from medvit.data.dataset import SOURCE_SIZES
from medvit.data.folder import SOURCE_SIZE, dataset_name, open_dataset
from medvit.text import escaped

DATA_HELP = (
    "one's own labelled pictures: a folder with a folder for each class, with or without train, val and test "
    "above them; a folder with a metadata.csv (file_name, label and, where known, split and group); or, with "
    "the library datasets, a parquet file or a hub id such as albertvillanova/medmnist-v2:bloodmnist"
)


def add_dataset(group: argparse._ActionsContainer, required: bool = True) -> None:
    """Add --subset and --data, of which one may be given, or has to be."""
    exclusive = group.add_mutually_exclusive_group(required=required)
    names = ", ".join(medmnist.names())
    exclusive.add_argument("--subset", choices=medmnist.names(), metavar="S", help=f"of MedMNIST: {names}")
    exclusive.add_argument("--data", metavar="FOLDER", help=DATA_HELP)


def add_size(group: argparse._ActionsContainer) -> None:
    """Add --size and --skip-unreadable."""
    group.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help=f"source size of the images: {', '.join(map(str, medmnist.SIZES))} for MedMNIST [28], "
        f"{SOURCE_SIZES[0]} to {SOURCE_SIZES[-1]} for --data [{SOURCE_SIZE}]",
    )
    group.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="for --data: leave pictures out that cannot be decoded, instead of stopping",
    )


def source_size(args: argparse.Namespace) -> int:
    """Return the source size in pixels that the arguments ask for."""
    return args.size if args.size is not None else SOURCE_SIZE if args.data else 28


def name_of(args: argparse.Namespace) -> str:
    """Return the name of the dataset that the arguments ask for, without opening it."""
    return dataset_name(args.data) if args.data else args.subset


def open_requested(args: argparse.Namespace, announce: bool = True) -> Dataset:
    """Return the dataset that the arguments ask for; pictures are prepared first.

    Raises:
        MedvitError: see `medvit.data.folder.open_dataset`.
    """
    if not args.data:
        return medmnist.get(args.subset)
    return open_dataset(args.data, source_size(args), skip_unreadable=args.skip_unreadable, announce=announce)


def card_options(args: argparse.Namespace) -> list[str]:
    """Return the options that name one's own pictures in a card: a hub id, or the last part of a path."""
    if not args.data:
        return []
    local = Path(args.data).expanduser()
    name = escaped(local.resolve().name, 200) if local.exists() else args.data
    return ["--data", name, *(["--skip-unreadable"] if args.skip_unreadable else [])]


def data_option(path: str) -> str:
    """Return the option --data for another process, which may start in another folder."""
    local = Path(path).expanduser()
    return f"--data={local.resolve() if local.exists() else path}"
