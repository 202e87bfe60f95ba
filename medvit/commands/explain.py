"""Draw the explanation map of one image, for any image classifier of transformers.

medvit explain cell.png --model checkpoints/bloodmnist/spt_lsa
medvit explain cat.png --model google/vit-base-patch16-224 --method rollout --out why.png

Prints the most probable classes and where the weight of the map lies, and writes the map as an overlay.
Research demo, not for diagnosis.
"""

import argparse
from pathlib import Path

import numpy as np

from medvit import checkpoint, explain, imaging
from medvit.errors import MedvitError
from medvit.inference.predictor import Predictor
from medvit.slow_imports import transformers

PRINTED_CLASSES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit explain`."""
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="an image file")
    add(
        "--model",
        required=True,
        metavar="ID_OR_FOLDER",
        help="a checkpoint folder of medvit, or any image classifier of transformers, by folder or hub id; "
        "safetensors only, and no code that comes with a model is run",
    )
    add(
        "--method",
        choices=("auto", *explain.METHODS),
        default="auto",
        metavar="MAP",
        help=f"{', '.join(explain.METHODS)}; or auto: the most faithful one on the card of a checkpoint, for "
        "other models relevance, or grad_cam where attention cannot be read [%(default)s]",
    )
    add("--target", metavar="CLASS", help="index or name of the class to explain [the predicted one]")
    add("--out", type=Path, metavar="FILE", help="the overlay [IMAGE-MAP.png in the current folder]")


def run(args: argparse.Namespace) -> None:
    """Explain one image."""
    transformers.utils.logging.disable_progress_bar()
    forward_pass, probs, classes = _predict(args.image, args.model)
    for index in np.argsort(-probs)[:PRINTED_CLASSES]:
        print(f"{probs[index]:7.1%}  {classes[index]}")
    method = forward_pass.explainer.best_method() if args.method == "auto" else args.method
    target = None if args.target is None else _class_index(args.target, classes)
    overlay = forward_pass.overlay(method, target)
    out = args.out or Path(f"{args.image.stem}-{method}.png")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        overlay.save(out)
    except (OSError, ValueError) as error:
        raise MedvitError(f"{out} cannot be written ({error}). Name another file with --out.") from error
    explained = classes[forward_pass.top if target is None else target]
    print(f"{out}: {explain.METHODS[method].title} of {explained}.")
    print(explain.describe(forward_pass.heatmap(method, target)))


def _predict(image: Path, model: str) -> tuple[explain.ForwardPass, np.ndarray, list[str]]:
    """The forward pass, the probabilities (C,) and the names of the classes.

    A checkpoint of medvit gets the image as in the app: reduced to the source size of its training images.
    """
    if (Path(model) / "card.json").is_file():
        predictor = Predictor(checkpoint.load(model))
        source = predictor.source(image)
        prediction = predictor.predict(source)
        forward_pass = predictor.explainer(imaging.to_tensor(source[None]))
        return forward_pass, prediction.display_probs, list(prediction.classes)
    explainer = explain.Explainer(model)
    forward_pass = explainer(image)
    probs = forward_pass.probabilities.numpy()
    names = getattr(explainer.config, "id2label", {})
    return forward_pass, probs, [names.get(i, str(i)) for i in range(len(probs))]


def _class_index(target: str, classes: list[str]) -> int:
    """The class that is named by its index or by its name."""
    if target in classes:
        return classes.index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    names = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
    raise MedvitError(f"There is no class {target!r}. The classes are 0 to {len(classes) - 1}: {names}.")
