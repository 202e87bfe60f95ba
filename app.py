"""The medvit demo: python app.py, then open http://127.0.0.1:7860"""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything the app shows lies in checkpoints/
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from transformers.utils import logging

from medvit import MedvitError, ui
from medvit.ui.store import Store


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--checkpoints",
        metavar="DIR",
        help="folder of checkpoints, <DIR>/<subset>/<model> [the shipped ones]",
    )
    add(
        "--data-root",
        metavar="DIR",
        help="folder of the .npz archives; without them the examples are drawings "
        "[$MEDVIT_DATA, else ~/.medmnist]",
    )
    add("--host", help="0.0.0.0 lets other machines in [127.0.0.1]")
    add("--port", type=int, help="[the first free one from 7860]")
    return parser.parse_args()


def main() -> None:
    args = parse()
    logging.disable_progress_bar()
    try:
        store = Store.open(args.checkpoints, args.data_root)
    except MedvitError as error:
        sys.exit(f"app.py: {error}")
    for problem in store.problems.values():
        print(f"app.py: left out: {problem}", file=sys.stderr)
    ui.build(store).launch(server_name=args.host, server_port=args.port, **ui.launch_options())


if __name__ == "__main__":
    main()
