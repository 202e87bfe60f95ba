"""Recompute a checkpoint's test figures from its weights.

    python scripts/evaluate.py checkpoints/bloodmnist/spt_lsa
    python scripts/evaluate.py --all
    python scripts/evaluate.py --all --map
    python scripts/evaluate.py --all --fit

Prints the figures, writes the confusion matrix and ROC curves as a page, and the rows in metrics.csv and
trust.csv. Exits with status 1 where a figure differs from the checkpoint's card by 0.001 or more.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from transformers.utils import logging

from medvit import checkpoint
from medvit.data import settings
from medvit.errors import MedvitError
from medvit.evaluation import report, robustness
from medvit.evaluation.embedding import layout
from medvit.reliability import measure

SHOWN = (
    "accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall", "auc",
    "quadratic_kappa", "mean_absolute_error",
)  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="checkpoint folders")
    add(
        "--all",
        action="store_true",
        help="every checkpoint below --checkpoints; a quarter of an hour on two cores",
    )
    add(
        "--fit",
        action="store_true",
        help="fit trust.npz anew, from the training and validation splits, and note its figures in the card",
    )
    add(
        "--robustness",
        action="store_true",
        help="measure corrupted test images too, where corruptions are known for the subset, for "
        "robustness.csv and the card; as long again",
    )
    add(
        "--checkpoints",
        type=Path,
        default=checkpoint.DEFAULT_ROOT,
        metavar="DIR",
        help="for --all [the shipped ones]",
    )
    add(
        "--map",
        action="store_true",
        help="also lay the test images out on a plane by the model's features, and store that "
        "in test.npz for the Test set tab; a few minutes for all on a CPU",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--out",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where the csv files and the pages go; a page weighs 5 MB, so none is in git [results]",
    )
    args = parser.parse_args()
    if not args.folders and not args.all:
        parser.error("name a checkpoint folder, or --all")
    return args


def evaluate_one(found: checkpoint.Checkpoint, args: argparse.Namespace) -> bool:
    """Recompute, print, write; True where the card is confirmed."""
    logits, test, vectors = report.recompute(found, args.data_root)
    low, high = test["accuracy_interval"]
    print(
        f"\n{found.subset.title} · {found.title}: {test['n']} test images, 95 % interval {low:.3f} to "
        f"{high:.3f}"
    )
    confirmed = True
    for key in SHOWN:
        if key in test:
            same = abs(test[key] - found.card["test"][key]) < 1e-3
            confirmed &= same
            print(
                f"  {key:20} {test[key]:.4f}"
                + ("" if same else f"   the card says {found.card['test'][key]:.4f}")
            )
    print(f"  {'class':36} precision  recall     F1    AUC  images")
    for name, figures in test["per_class"].items():
        probs = "  ".join(f"{figures[key]:.3f}" for key in ("recall", "f1", "auc"))
        print(f"  {name[:36]:36}     {figures['precision']:.3f}   {probs}  {figures['support']:6}")
    print(f"  {report.write_html(found, logits, found.test_labels, args.out / 'pages')}")
    report.update_csv(args.out / "metrics.csv", [report.row(found, test)])
    if args.map:
        checkpoint.write_test(found.folder, found.test_logits, found.test_labels, layout(vectors))
        print(f"  map of the test split stored in {found.folder / 'test.npz'}")
    confirmed &= evaluate_trust(found, args)
    if args.robustness and settings.of(found.subset.name).corruptions:
        found = checkpoint.load(found.folder)
        section = robustness.measure(found, args.data_root)
        checkpoint.write_card(found.folder, found.card | {"robustness": section})
        print(f"  {'corrupted error':20} {section['mean']:.4f}, clean {section['clean']:.4f}")
        rows = robustness.rows(found, section)
        path = args.out / "robustness.csv"
        report.update_csv(path, rows, robustness.COLUMNS, ("subset", "model", "corruption"))
    return confirmed


def evaluate_trust(found: checkpoint.Checkpoint, args: argparse.Namespace) -> bool:
    """Print and write what trust.npz is worth; True where the card is confirmed, or was written anew."""
    if args.fit:
        section = measure.complete(found.folder, args.data_root)
    elif found.trust is None:
        print(f"  {found.trust_problem}")
        return True
    else:
        section = measure.measure(found, args.data_root)
    row = measure.row(found, section)
    for key in measure.COLUMNS[2:]:
        if key in row:
            print(f"  {key:20} {row[key]:.4f}" if isinstance(row[key], float) else f"  {key:20} {row[key]}")
    report.update_csv(args.out / "trust.csv", [row], measure.COLUMNS)
    if args.fit:
        return True
    said = found.card.get("trust", {}).get("after", {}).get("ece", float("nan"))
    if abs(section["after"]["ece"] - said) < 1e-3:
        return True
    print(f"  the card says that the calibrated ECE is {said:.4f}")
    return False


def main() -> None:
    args = parse()
    logging.disable_progress_bar()
    confirmed, problems = True, []
    found = []
    if args.all:
        found, damaged = checkpoint.discover(args.checkpoints)
        problems += damaged.values()
    for folder in args.folders:
        try:
            found.append(checkpoint.load(folder))
        except MedvitError as error:
            problems.append(str(error))
    for one in found:
        try:
            confirmed &= evaluate_one(one, args)
        except MedvitError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"evaluate.py: {problem}", file=sys.stderr)
    if not confirmed:
        print("evaluate.py: a figure differs from its card, see above.", file=sys.stderr)
    sys.exit(0 if confirmed and found and not problems else 1)


if __name__ == "__main__":
    main()
