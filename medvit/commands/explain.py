"""Draw explanation maps of pictures, for any image classifier.

medvit explain google/vit-base-patch16-224 cat.png
medvit explain checkpoints/bloodmnist/spt_lsa scans/ --method rollout --out maps

Writes a folder with the map over each picture and a page, index.html, that shows them with the most probable
classes. A file that cannot be read is listed there with the reason. Research demo, not for diagnosis.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from medvit import checkpoint, explain
from medvit.errors import MedvitError
from medvit.inference import bulk, explanations, external
from medvit.inference.explanations import Explained
from medvit.inference.predictor import Predictor
from medvit.slow_imports import transformers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit explain`."""
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a checkpoint folder of medvit, or any image classifier: a folder or hub id of transformers or "
        "timm, or a name of timm; only safetensors are read, and no code that comes with a model is run",
    )
    add("paths", nargs="+", type=Path, metavar="IMAGE", help="pictures, or folders or zips of them")
    add(
        "--method",
        choices=("auto", *explain.METHODS),
        default="auto",
        metavar="MAP",
        help=f"{', '.join(explain.METHODS)}; or auto: the most faithful one on the card of a checkpoint, for "
        "other models relevance, or grad_cam where attention cannot be read [%(default)s]",
    )
    add("--target", metavar="CLASS", help="index or name of the class to explain [the predicted one]")
    add(
        "--out",
        type=Path,
        default=Path("explained"),
        metavar="DIR",
        help="the folder to write; files of an earlier run in it are replaced [%(default)s]",
    )


def run(args: argparse.Namespace) -> None:
    """Explain the pictures and write the page, also of those that are done when it is interrupted.

    Raises:
        MedvitError: an option does not fit the model, no picture can be read, or DIR cannot be written.
    """
    transformers.utils.logging.disable_progress_bar()
    files = _without_output(bulk.list_files(args.paths, limited=False), args.paths, args.out)
    predictor = _open(args.model)
    method = explanations.check_method(predictor, args.method)
    if args.target is not None and not explain.METHODS[method].by_class:
        raise MedvitError(
            f"{method} is the same for every class. Leave --target out, or choose another --method."
        )
    target = None if args.target is None else predictor.explainer.class_index(args.target)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explanations.cannot_write(args.out, error) from error
    items: list[Explained] = []
    try:
        with tqdm(total=len(files), unit="picture", disable=len(files) == 1) as bar:
            for item in explanations.explain_files(predictor, files, method, args.out, target):
                items.append(item)
                bar.update()
    finally:
        readable = any(not item.problem for item in items)
        page = explanations.write_page(args.out, predictor, method, items) if readable else None
    print(_summary(items, explain.METHODS[method].title))
    print(page)


def _without_output(files: list[bulk.File], paths: list[Path], out: Path) -> list[bulk.File]:
    """Leave out what an earlier run wrote, where the folder `out` is in one of the folders `paths`.

    Raises:
        MedvitError: there is no other file, or `out` is one of these folders, or has another's index.html.
    """
    out = out.resolve()
    if out in [path.resolve() for path in paths]:
        raise MedvitError(f"The maps cannot be written among the pictures of {out}. Name another with --out.")
    page = out / "index.html"
    if page.is_file() and b'content="medvit explain"' not in page.read_bytes()[:2000]:
        raise MedvitError(f"{page} is not a page of this command, so it is kept. Name another with --out.")
    if not any(path.resolve() in out.parents for path in paths):
        return files
    others = [file for file in files if not file.path.resolve().is_relative_to(out)]
    if not others:
        raise MedvitError(f"The only files are those that an earlier run wrote into {out}.")
    return others


def _open(model: str) -> Predictor:
    """The predictor of a checkpoint of medvit, or of any other image classifier."""
    if (Path(model) / "card.json").is_file():
        return Predictor(checkpoint.load(model))
    return external.open_models([model])[0]


def _summary(items: list[Explained], title: str) -> str:
    """The most probable classes of a single picture, or how many were explained.

    Raises:
        MedvitError: none could be read.
    """
    problems = [item for item in items if item.problem]
    if len(problems) == len(items):
        first = f"{problems[0].name}: {problems[0].problem}"
        raise MedvitError(
            first if len(items) == 1 else f"None of {len(items):,} files could be read. {first}"
        )
    if len(items) == 1:
        (item,) = items
        classes = "\n".join(f"{probability:7.1%}  {name}" for name, probability in item.classes)
        return f"{classes}\n{title}{f' for {item.target}' if item.target else ''}: {item.description}"
    count = len(items) - len(problems)
    files = "file" if len(problems) == 1 else "files"
    unreadable = f"; {len(problems):,} {files} could not be read, see the page" if problems else ""
    return f"{title}: {count:,} {'picture' if count == 1 else 'pictures'}{unreadable}."
