"""The part of `medvit evaluate` that measures a model which was not trained here."""

import argparse
from pathlib import Path

from medvit import files
from medvit.commands.dataset_options import open_requested, source_size
from medvit.errors import MedvitError
from medvit.evaluation import external
from medvit.evaluation.metrics import evaluate
from medvit.reliability import measure
from medvit.text import few


def measure_model(args: argparse.Namespace) -> Path | None:
    """Measure `args.model`; return its new checkpoint folder, None where such a folder cannot hold it.

    Raises:
        MedvitError: no pictures were named, the model is not usable, or its classes do not match.
    """
    if not args.data and not args.subset:
        raise MedvitError("--model needs the pictures to measure it on: --data FOLDER, or --subset S.")
    model_folder = Path(args.model)
    if (model_folder / "card.json").is_file():
        raise MedvitError(f"{args.model} was trained here: `medvit evaluate {args.model}` measures it.")
    dataset, size = open_requested(args), source_size(args)
    if dataset.multi_label:
        raise MedvitError(f"{dataset.title} has several labels for an image; models with one are measured.")
    model = external.open_external(args.model, dataset)
    if model.explainer.preparation.crops():
        print(
            f"{args.model} usually crops its pictures to their centre; here it gets the whole square, "
            "resized to its input."
        )
    out = args.save / dataset.name / model.name
    restricted, why_not = None, ""
    try:
        restricted = external.restrict(model, dataset)
    except MedvitError as error:
        why_not = str(error)
    if restricted is not None and out.exists():
        raise MedvitError(f"{out} exists already: remove it, or choose another folder with --save.")
    logits, labels = external.predict_split(model, dataset, "test", size, args.data_root)
    accuracy = external.among_all_classes(model, logits, labels)
    if model.left_out:
        print(
            f"{len(model.left_out):,} classes of {args.model} have no pictures: {few(model.left_out)}. "
            f"Below, it chooses among the {len(dataset.classes)} others; among all, its accuracy is "
            f"{accuracy:.4f}."
        )
    if restricted is None:
        metrics = evaluate(logits[:, model.columns], labels, dataset.task, dataset.classes)
        _print(metrics, dataset.title, model.name)
        print(
            f"No checkpoint folder is written: {why_not}. `medvit app --model {args.model}` opens the model, "
            "without these results."
        )
        return None
    with files.atomic_folder(out) as folder:
        external.write_checkpoint(folder, model, restricted, dataset, size, args.data_root)
        measure.fit_and_measure(folder, args.data_root)
    return out


def _print(metrics: dict, dataset: str, model: str) -> None:
    low, high = metrics["accuracy_interval"]
    print(f"\n{dataset} · {model}: {metrics['n']} test images, 95 % interval {low:.3f} to {high:.3f}")
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "loss"):
        print(f"  {key:20} {metrics[key]:.4f}")
