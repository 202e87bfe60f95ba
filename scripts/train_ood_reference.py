"""Train the small model that all checkpoints share to notice foreign images.

    python scripts/train_shared.py --out runs/shared

About 15 minutes on one core. After replacing checkpoints/_shared by it, refit what rests on it:
`python scripts/evaluate.py --all --fit`.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from medvit.errors import MedvitError
from medvit.training.ood_reference import train_ood_reference


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/shared"), metavar="DIR", help="[runs/shared]")
    parser.add_argument("--steps", type=int, default=3500, help="the shipped one took the default [3500]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA]")
    args = parser.parse_args()
    try:
        print(train_ood_reference(args.out, args.steps, args.seed, args.data_root))
    except MedvitError as error:
        sys.exit(f"train_shared.py: {error}")


if __name__ == "__main__":
    main()
