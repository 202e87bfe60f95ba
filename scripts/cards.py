"""Write the model card, README.md, into each checkpoint folder, from its card.json and test.npz.

python scripts/cards.py
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from medvit import checkpoint
from medvit.reliability import model_card


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoints", default=str(checkpoint.DEFAULT_ROOT), metavar="DIR", help="[the shipped ones]"
    )
    args = parser.parse_args()
    found, problems = checkpoint.discover(args.checkpoints)
    for one in found:
        (one.folder / "README.md").write_text(model_card.markdown(one))
    print(f"{len(found)} cards written")
    for reason in problems.values():
        print(f"cards.py: left out: {reason}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
