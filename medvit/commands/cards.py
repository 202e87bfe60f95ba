"""Write the model card, README.md, into each checkpoint folder, from its card.json and test.npz.

medvit cards
"""

import argparse
import sys

from medvit import checkpoint
from medvit.evaluation import model_card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit cards`."""
    parser.add_argument(
        "--checkpoints", default=str(checkpoint.DEFAULT_ROOT), metavar="DIR", help="[the shipped ones]"
    )


def run(args: argparse.Namespace) -> int:
    """Write one card for each usable checkpoint; 1 where a folder is damaged."""
    checkpoints, problems = checkpoint.discover(args.checkpoints)
    for item in checkpoints:
        (item.folder / "README.md").write_text(model_card.markdown(item), "utf-8")
    print(f"{len(checkpoints)} cards written")
    for reason in problems.values():
        print(f"medvit cards: left out: {reason}", file=sys.stderr)
    return 1 if problems else 0
