"""Train many (subset, model, strategy, seed) runs, several at once, and keep the best on validation of each.

    python scripts/campaign.py --subsets breastmnist retinamnist --seeds 5 --budget-minutes 60
    python scripts/campaign.py --at-once 8 --budget-minutes 28 --export best   # on a GPU

Run it again to go on where it stopped.
"""

import argparse
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.training import sweep


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Any other option goes to scripts/train.py, such as --backbone or --epochs.",
    )
    add = parser.add_argument
    add(
        "--subsets",
        nargs="+",
        choices=medmnist.names(),
        default=medmnist.MAIN,
        metavar="S",
        help="[the five]",
    )
    add("--models", nargs="+", choices=models.NAMES, default=models.NAMES, metavar="M", help="[all four]")
    add("--strategies", nargs="+", default=["full"], help="for vit_finetuned, see train.py [full]")
    add(
        "--vary",
        nargs="+",
        default=[""],
        metavar="OPTIONS",
        help="make a recipe of each of these sets of train.py's options. An ablation: --models spt_lsa "
        "--vary '' '--set spt=false' '--set lsa=false' '--set spt=false lsa=false'. Input sizes: --models "
        "vit_finetuned --vary '--image-size 112' '--image-size 224'",
    )
    add(
        "--seeds",
        type=int,
        help="seeds 0 to N-1 [5; 3 for Blood and Path, whose test sets are large]",
    )
    add(
        "--at-once",
        type=int,
        default=1,
        help="processes side by side; 8 small models share one large GPU well [1]",
    )
    add(
        "--budget-minutes",
        type=float,
        default=float("inf"),
        help="stop then; what runs resumes next time [none]",
    )
    add("--out", type=Path, default=Path("runs/campaign"), help="folder of all runs [%(default)s]")
    add(
        "--export",
        type=Path,
        metavar="DIR",
        help="copy the best on validation to DIR/<subset>/<model>: of the recipes by mean, then of the seeds",
    )
    add(
        "--no-trust",
        action="store_true",
        help="export without trust.npz; `python scripts/evaluate.py --all --fit --checkpoints DIR` makes it "
        "later",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add("--report", type=Path, metavar="FILE", help="write the table of all recipes as Markdown")
    return parser.parse_known_args()


def table(jobs: list[sweep.Job]) -> str:
    """One line a job, as it stands."""
    lines = [f"{'subset':15} {'model':22} seed  state"]
    for job in jobs:
        accuracy = re.search(r"eval_accuracy': '([\d.]+)'.*'epoch': '([\d.]+)'", job.note)
        note = f"epoch {accuracy[2]}, validation accuracy {accuracy[1]}" if accuracy else job.note[:60]
        lines.append(f"{job.subset:15} {job.recipe[1]:22} {job.seed:4}  {job.state:12} {note}")
    return "\n".join(lines)


class LiveTable:
    """Prints the table where it changed: whole in a terminal, only the new lines into a log."""

    def __init__(self) -> None:
        self.last: list[str] = []

    def __call__(self, jobs: list[sweep.Job]) -> None:
        lines = table(jobs).splitlines()
        if sys.stdout.isatty() and lines != self.last:
            print("\x1b[H\x1b[2J" + "\n".join(lines), flush=True)
        else:
            for line in lines:
                if line not in self.last:
                    print(line, flush=True)
        self.last = lines


def main() -> None:
    args, options = parse()
    jobs = sweep.plan(args.subsets, args.models, args.strategies, args.seeds, args.out, args.vary)
    if args.data_root:
        options += ["--data-root", args.data_root]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("campaign.py: ended; run it again to go on"))
    sweep.run(jobs, options, args.at_once, args.budget_minutes * 60, LiveTable())
    rows = sweep.summary(jobs)
    print(f"\n{sweep.report(rows)}", end="")
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(sweep.report(rows))
    try:
        if args.export:
            for folder in sweep.export(rows, args.export, args.data_root, trust=not args.no_trust):
                print(f"Wrote {folder}")
    except MedvitError as error:
        sys.exit(f"campaign.py: {error}")
    sys.exit(1 if any(job.state == "failed" for job in jobs) else 0)


if __name__ == "__main__":
    main()
