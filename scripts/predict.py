"""Classify many pictures: a folder, files, or zips (which are not extracted), into one CSV.

    python scripts/predict.py scans/ --subset bloodmnist --model spt_lsa --out results.csv
    python scripts/predict.py scans/ --subset bloodmnist --model spt_lsa --out results.csv --engine ray

A file that cannot be read becomes a row with its reason. Research demo, not for diagnosis.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from tqdm import tqdm
from transformers.utils import logging

import medvit
from medvit.errors import MedvitError
from medvit.files import atomic_file
from medvit.inference import bulk


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="FOLDER", help="folders, files or zips; folders of any depth")
    add("--subset", required=True, help="name of the subset whose classes are to be told, such as bloodmnist")
    add("--model", required=True, help="name of the model, such as spt_lsa")
    add("--out", required=True, type=Path, metavar="FILE", help="the CSV; an older one is replaced")
    add("--checkpoints", type=Path, metavar="DIR", help="folder of checkpoints [the shipped ones]")
    add("--batch-size", type=int, default=bulk.BATCH_SIZE, metavar="N", help="[%(default)s]")
    add(
        "--engine",
        choices=("plain", "ray"),
        default="plain",
        help="ray spreads the work over the cluster of $RAY_ADDRESS, or over this machine's cores; the files "
        "and this folder must be at the same place on all its machines (pip install -r requirements-ray.txt)",
    )
    add("--workers", type=int, default=2, metavar="N", help="for ray: how many models work at once [2]")
    args = parser.parse_args()
    if args.batch_size < 1 or args.workers < 1:
        parser.error("--batch-size and --workers must be at least 1")
    return args


def answers(args: argparse.Namespace, files: list[bulk.File]) -> Iterator[list[bulk.Row]]:
    """Rows in the order of the files, by the chosen engine."""
    predictor = medvit.load(args.subset, args.model, args.checkpoints)
    if args.engine == "ray":
        from medvit.inference.bulk_ray import predict

        yield from predict(predictor.checkpoint.folder, files, args.workers, args.batch_size)
        return
    with bulk.Reader() as reader:
        yield from bulk.predict(predictor, files, reader, args.batch_size)


def main() -> None:
    sys.setswitchinterval(5e-4)  # or the model waits for whoever decodes, up to 5 ms at each operation
    args = parse()
    logging.disable_progress_bar()
    unread = 0
    try:
        files = bulk.find(args.paths, limited=False)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(args.out, "w", newline="", encoding="utf-8") as out,
            tqdm(total=len(files), unit="file") as bar,
        ):
            bulk.write_header(out)
            for rows in answers(args, files):
                bulk.write_rows(out, rows)
                unread += sum(bool(row.note) for row in rows)
                bar.update(len(rows))
    except MedvitError as error:
        sys.exit(f"predict.py: {error}")
    except OSError as error:
        sys.exit(
            f"predict.py: {args.out} cannot be written ({error.strerror}). Name another file with --out."
        )
    print(f"{args.out}: {len(files):,} files, {unread:,} of them could not be read (see the column note)")


if __name__ == "__main__":
    main()
