"""Classify many pictures: a folder, files, or zips (which are not extracted), into one CSV.

medvit predict scans/ --subset bloodmnist --model spt_lsa --out results.csv
medvit predict scans/ --subset bloodmnist --model spt_lsa --out results.csv --engine ray

The column file has the name below the folder; of several folders, the folder too. A file that cannot be read
becomes a row with the reason. Research demo, not for diagnosis.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

import medvit
from medvit.argument_types import at_least
from medvit.data.folder import dataset_name
from medvit.errors import MedvitError
from medvit.files import atomic_file
from medvit.inference import bulk, bulk_csv, bulk_ray
from medvit.inference.worker import SWITCH_SECONDS
from medvit.slow_imports import transformers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit predict`."""
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="FOLDER", help="folders, files or zips; folders of any depth")
    dataset = parser.add_mutually_exclusive_group(required=True)
    dataset.add_argument("--subset", help="name of the dataset that the model was trained on: bloodmnist")
    dataset.add_argument("--data", metavar="FOLDER", help="or its folder, for one's own pictures")
    add("--model", required=True, help="name of the model, such as spt_lsa")
    add("--out", required=True, type=Path, metavar="FILE", help="the CSV; an existing one is replaced")
    add("--checkpoints", type=Path, metavar="DIR", help="folder of checkpoints [the shipped ones]")
    add("--batch-size", type=at_least(1), default=bulk.BATCH_SIZE, metavar="N", help="[%(default)s]")
    add(
        "--engine",
        choices=("plain", "ray"),
        default="plain",
        help="ray spreads the work over the cluster at $RAY_ADDRESS, or over the cores of this machine; "
        "files and checkpoints must have the same path on all machines (pip install -r requirements-ray.txt)",
    )
    add(
        "--workers", type=at_least(1), default=2, metavar="N", help="for ray: models that run in parallel [2]"
    )


def run(args: argparse.Namespace) -> None:
    """Classify the files and write the CSV.

    Raises:
        MedvitError: an option does not fit, there is no file, or the CSV cannot be written.
    """
    if args.out.is_dir():
        raise MedvitError(f"{args.out} is a folder. Name a file with --out.")
    sys.setswitchinterval(SWITCH_SECONDS)
    transformers.utils.logging.disable_progress_bar()
    files = bulk.list_files(args.paths, limited=False, full_names=len(args.paths) > 1)
    failed = 0
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(args.out, "w", newline="", encoding="utf-8") as out,
            tqdm(total=len(files), unit="file") as bar,
        ):
            bulk_csv.write_header(out)
            for rows in _predict(args, files):
                bulk_csv.write_rows(out, rows)
                failed += sum(bool(row.note) for row in rows)
                bar.update(len(rows))
    except OSError as error:
        raise MedvitError(
            f"{args.out} cannot be written ({error.strerror}). Name another file with --out."
        ) from error
    print(f"{args.out}: {len(files):,} files, {failed:,} of them could not be read (see the column note)")


def _predict(args: argparse.Namespace, files: list[bulk.File]) -> Iterator[list[bulk.Row]]:
    """Rows in the order of the files, by the chosen engine."""
    predictor = medvit.load(args.subset or dataset_name(args.data), args.model, args.checkpoints)
    if args.engine == "ray":
        yield from bulk_ray.predict(predictor.checkpoint.folder, files, args.workers, args.batch_size)
        return
    with bulk.Reader() as reader:
        yield from bulk.predict(predictor, files, reader, args.batch_size)
