"""Fetch MedMNIST archives and check their md5.

python scripts/download.py bloodmnist breastmnist
python scripts/download.py --all --size 64 --data-root data
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm

from medvit.data import medmnist
from medvit.errors import MedvitError


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    args = parser.parse_args()
    if not args.subsets and not args.all:
        parser.error("name a subset, or --all")
    return args


def main() -> None:
    args = parse()
    failed = False
    for name in dict.fromkeys(args.subsets + list(medmnist.MAIN if args.all else ())):
        try:
            with tqdm(desc=name, unit="B", unit_scale=True, leave=False) as bar:

                def progress(done: int, total: int, bar: tqdm = bar) -> None:
                    bar.total = total or None
                    bar.update(done - bar.n)

                path = medmnist.download(name, args.size, args.data_root, progress)
            print(f"{path}: whole, md5 {medmnist.get(name).md5[args.size]}")
        except MedvitError as error:
            failed = True
            print(f"download.py: {error}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
