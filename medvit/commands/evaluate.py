"""Recompute the test metrics of checkpoints from their weights.

medvit evaluate checkpoints/bloodmnist/spt_lsa
medvit evaluate --all
medvit evaluate --all --tsne
medvit evaluate --all --fit
medvit evaluate --model google/vit-base-patch16-224 --data scans/      # a model that was not trained here

Prints the metrics, writes the confusion matrix and ROC curves as a page, and updates metrics.csv and
trust.csv. Exits with status 1 where accuracy, balanced accuracy, F1, precision, recall, AUC, kappa or the
calibration error differs from the checkpoint's card by 0.001 or more.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.commands.dataset_options import add_dataset, add_size
from medvit.commands.external import measure_model
from medvit.data import settings
from medvit.errors import MedvitError
from medvit.evaluation import report, robustness
from medvit.evaluation.embedding import tsne
from medvit.inference import pictures
from medvit.reliability import measure
from medvit.slow_imports import transformers

PRINTED = (
    "accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall", "auc",
    "quadratic_kappa", "mean_absolute_error",
)  # fmt: skip
TOLERANCE = 1e-3
MEASURED = Path("runs") / "measured"  # the default of --save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit evaluate`."""
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="checkpoint folders")
    add(
        "--all",
        action="store_true",
        help="every checkpoint below --checkpoints; a quarter of an hour on two cores",
    )
    add(
        "--model",
        metavar="ID_OR_FOLDER",
        help="measure any image classifier on --data or --subset: a folder or hub id of transformers or "
        "timm, or a name of timm; its classes are matched by name. A checkpoint folder for the app goes to "
        "<SAVE>/<dataset>/<model>",
    )
    add("--save", type=Path, metavar="SAVE", help=f"for --model [{MEASURED}]")
    add_dataset(parser, required=False)
    add_size(parser)
    add(
        "--fit",
        action="store_true",
        help="fit trust.npz again from the training and validation splits, and store its metrics in the card",
    )
    add(
        "--robustness",
        action="store_true",
        help="also measure corrupted test images, for datasets whose corruptions are known, for "
        "robustness.csv and the card; doubles the time",
    )
    add(
        "--tsne",
        action="store_true",
        help="also embed the test images in the plane (t-SNE of the model's features), and store the "
        "embedding in test.npz for the Test set tab; a few minutes for all on a CPU",
    )
    add(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="for --all [the shipped ones]",
    )
    add("--data-root", metavar="DIR", help="folder of the .npz archives [$MEDVIT_DATA, else ~/.medmnist]")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the csv files and the pages go; a page weighs 5 MB, so none is in git [results for the "
        "shipped checkpoints, runs/results for others]",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate each checkpoint; a damaged one does not stop the others."""
    _check(args)
    transformers.utils.logging.disable_progress_bar()
    if args.model:
        folder = measure_model(args)
        if folder is None:
            return 0
        args.folders.append(folder)
        print(f"Wrote {folder}. Look at it: medvit app --checkpoints {args.save}")
    checkpoints, problems = _open(args)
    if not checkpoints and not problems:
        raise MedvitError(f"There is no checkpoint below {args.checkpoints}.")
    confirmed = True
    for item in checkpoints:
        try:
            confirmed &= _evaluate(item, args, args.out or results_folder(item.folder))
        except MedvitError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"medvit evaluate: {problem}", file=sys.stderr)
    if not confirmed:
        print("medvit evaluate: a metric differs from the card, see above.", file=sys.stderr)
    return 0 if confirmed and checkpoints and not problems else 1


def _check(args: argparse.Namespace) -> None:
    """Raise a MedvitError where options are missing or do not go together."""
    if not args.folders and not args.all and not args.model:
        raise MedvitError("Name at least one checkpoint folder, or --all, or --model with --data.")
    if not args.model and args.subset:
        raise MedvitError("--subset belongs to --model: a checkpoint folder names its dataset itself.")
    if not args.model and args.save:
        raise MedvitError("--save belongs to --model.")
    if not args.model and not args.data and (args.size is not None or args.skip_unreadable):
        raise MedvitError("--size and --skip-unreadable belong to --model or --data.")
    if args.checkpoints and not args.all:
        raise MedvitError("--checkpoints belongs to --all.")
    args.checkpoints = args.checkpoints or checkpoint.DEFAULT_ROOT
    args.save = args.save or MEASURED


def results_folder(folder: Path) -> Path:
    """Return where the results of a checkpoint folder go by default: only shipped ones into results/."""
    shipped = folder.resolve().is_relative_to(checkpoint.DEFAULT_ROOT.resolve())
    return Path("results") if shipped else Path("runs") / "results"


def _open(args: argparse.Namespace) -> tuple[list[Checkpoint], list[str]]:
    """The usable checkpoints that the arguments name, and what is wrong with the others."""
    checkpoints: list[Checkpoint] = []
    problems: list[str] = []
    if args.all:
        checkpoints, damaged = checkpoint.discover(args.checkpoints)
        problems += damaged.values()
    for folder in args.folders:
        try:
            checkpoints.append(checkpoint.load(folder))
        except MedvitError as error:
            problems.append(str(error))
    return checkpoints, problems


def _evaluate(item: Checkpoint, args: argparse.Namespace, out: Path) -> bool:
    """Recompute, print and write everything about one checkpoint; True where its card is confirmed."""
    if args.data:
        pictures.prepare(args.data, item, args.size, args.skip_unreadable)
    logits, test, features = report.recompute(item, args.data_root)
    confirmed = _print_metrics(item, test)
    print(f"  {report.write_html(item, logits, item.test_labels, out / 'pages')}")
    report.update_csv(out / "metrics.csv", [report.csv_row(item, test)])
    if args.tsne:
        checkpoint.write_test(item.folder, item.test_logits, item.test_labels, tsne(features))
        print(f"  t-SNE embedding of the test split stored in {item.folder / 'test.npz'}")
    confirmed &= _evaluate_reliability(item, args, out)
    if args.robustness and settings.of(item.dataset.name).corruptions:
        _evaluate_robustness(checkpoint.load(item.folder), args.data_root, out)
    return confirmed


def _print_metrics(item: Checkpoint, test: dict[str, Any]) -> bool:
    """Print the test metrics, overall and by class; True where they equal those of the card."""
    low, high = test["accuracy_interval"]
    print(f"\n{item.dataset.title} · {item.title}: {test['n']} test images, ", end="")
    print(f"95 % interval {low:.3f} to {high:.3f}")
    confirmed = True
    for key in PRINTED:
        if key in test:
            expected = item.card["test"].get(key, test[key])  # an older card may lack one
            equal = abs(test[key] - expected) < TOLERANCE
            confirmed &= equal
            print(f"  {key:20} {test[key]:.4f}" + ("" if equal else f"   the card says {expected:.4f}"))
    print(f"  {'class':36} precision  recall     F1    AUC  images")
    for name, metrics in test["per_class"].items():
        values = "  ".join(f"{metrics[key]:.3f}" for key in ("recall", "f1", "auc"))
        print(f"  {name[:36]:36}     {metrics['precision']:.3f}   {values}  {metrics['support']:6}")
    return confirmed


def _evaluate_reliability(item: Checkpoint, args: argparse.Namespace, out: Path) -> bool:
    """Print and write the metrics of trust.npz; True where the card is confirmed, or was just written."""
    if args.fit:
        section = measure.fit_and_measure(item.folder, args.data_root)
    elif item.trust is None:
        print(f"  {item.trust_problem}")
        return "trust" not in item.card  # the card has metrics of a file that cannot be used
    else:
        section = measure.measure(item, args.data_root)
    row = measure.csv_row(item, section)
    for key in measure.COLUMNS[2:]:
        if key in row:
            print(f"  {key:20} {row[key]:.4f}" if isinstance(row[key], float) else f"  {key:20} {row[key]}")
    report.update_csv(out / "trust.csv", [row], measure.COLUMNS)
    if args.fit:
        return True
    expected = item.card.get("trust", {}).get("after", {}).get("ece", float("nan"))
    if abs(section["after"]["ece"] - expected) < TOLERANCE:
        return True
    print(f"  the card says that the calibrated ECE is {expected:.4f}")
    return False


def _evaluate_robustness(item: Checkpoint, data_root: str | None, out: Path) -> None:
    """Measure corrupted test images; write the card and robustness.csv."""
    section = robustness.measure(item, data_root)
    checkpoint.write_card(item.folder, item.card | {"robustness": section})
    print(f"  {'corrupted error':20} {section['mean']:.4f}, clean {section['clean']:.4f}")
    report.update_csv(
        out / "robustness.csv",
        robustness.csv_rows(item, section),
        robustness.COLUMNS,
        ("subset", "model", "corruption"),
    )
