"""Measure how far each kind of map can be believed, for each checkpoint.

    python scripts/faithfulness.py --all

Writes the figures into each card.json, where the app reads them, and all of them to results/faithfulness.csv.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

from medvit import checkpoint, explain
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation import report
from medvit.explain import faithfulness
from medvit.imaging.preprocess import to_tensor

COLUMNS = (
    "gain",
    "gain_error",
    "deletion",
    "random_deletion",
    "insertion",
    "random_insertion",
    "road",
    "shuffled",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="checkpoint folders")
    add("--all", action="store_true", help="every shipped checkpoint")
    add(
        "--images",
        type=int,
        default=50,
        help="test images for each, spread evenly over the split [%(default)s]",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add("--out", type=Path, default=Path("results/faithfulness.csv"), help="the table [%(default)s]")
    args = parser.parse_args()
    if args.all:
        args.folders += [one.folder for one in checkpoint.discover()[0]]
    if not args.folders:
        parser.error("name at least one checkpoint folder, or --all")
    return args


def measure(found: checkpoint.Checkpoint, count: int, data_root: str | None) -> dict:
    """The figures of one checkpoint, and the number of images they come from."""
    images, _ = medmnist.load_split(found.subset.name, "test", found.card["source_size"], data_root)
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    explainer = explain.Explainer(found.model, found.preprocessing)
    methods = {name: explain.METHODS[name].draw for name in explain.methods_for(explainer)}
    return {
        "images": len(chosen),
        "methods": faithfulness.measure(explainer, to_tensor(images[chosen]), methods),
    }


def main() -> None:
    args = parse()
    keys = ("subset", "model", "method")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        for folder in tqdm(args.folders, unit="checkpoint"):
            found = checkpoint.load(folder)
            figures = measure(found, args.images, args.data_root)
            checkpoint.write_card(found.folder, found.card | {"explanations": figures})
            rows = [
                dict(zip(keys, (found.subset.name, found.model_name, name), strict=True))
                | {"images": figures["images"]}
                | {key: f"{one[key]:.4f}" for key in COLUMNS}
                for name, one in figures["methods"].items()
            ]
            report.update_csv(args.out, rows, (*keys, "images", *COLUMNS), keys)
    except MedvitError as error:
        sys.exit(f"faithfulness.py: {error}")


if __name__ == "__main__":
    main()
