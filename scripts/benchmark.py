"""Measure medvit against what people do today, both in the same run, alternating.

    python scripts/benchmark.py explain

Prints one JSON line a figure: name, value, unit, target, holds. A ratio is the median over the pairs.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmarks.common import NAMES


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="{" + ",".join(NAMES) + "}")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
    for name, module in modules.items():
        module.add_arguments(commands.add_parser(name, help=module.__doc__, description=module.__doc__))
    args = parser.parse_args()
    for figure in modules[args.name].measure(args):
        print(json.dumps(figure.to_json()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
