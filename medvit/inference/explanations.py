"""Explain many pictures with one model: an overlay of each, and a page that shows them all.

<folder>/index.html
<folder>/0001-cat.png, 0001-cat-relevance.png     the picture as the model sees it, and the map over it
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvit import explain, imaging, plots
from medvit.errors import MedvitError
from medvit.explain import MapOptions
from medvit.files import atomic_file
from medvit.inference.bulk import File, Reader
from medvit.inference.predictor import Predictor
from medvit.templates import environment

TEMPLATE = Path(__file__).with_suffix(".html")
TOP_CLASSES = 5
OPACITY = 0.5


@dataclass(frozen=True)
class Explained:
    """One picture. Where it could not be read, `problem` is a sentence and the rest is empty.

    `name`: of the file, for display. `picture`, `overlay`: names of the files in the folder. `classes`:
    (name, probability), the most probable first. `target`: the class that the map explains, "" where it
    explains none. `description`: where the weight of the map lies.
    """

    name: str
    problem: str = ""
    picture: str = ""
    overlay: str = ""
    classes: tuple[tuple[str, float], ...] = ()
    target: str = ""
    description: str = ""


def check_method(predictor: Predictor, method: str) -> str:
    """The method, "auto" replaced by the best one; raises MedvitError where it does not fit the model."""
    method = predictor.explainer.best_method() if method == "auto" else method
    predictor.explainer.check_method(method)
    return method


def explain_files(
    predictor: Predictor, files: Iterable[File], method: str, folder: Path, target: int | None = None
) -> Iterator[Explained]:
    """Write the picture and the overlay of each file into a folder; yield what the page shows of them.

    Args:
        method: a name in `explain.METHODS` that fits the model; see `check_method`.
        target: the class to explain; None for the predicted one of each picture.

    Raises:
        MedvitError: the folder cannot be written.
    """
    with Reader() as reader:
        for number, file in enumerate(files, 1):
            stem = f"{number:04}-{_safe_stem(file.name)}"
            try:
                source = predictor.source(reader(file))
            except MedvitError as error:
                yield Explained(file.name, str(error))
                continue
            yield _explain(predictor, source, file.name, method, target, folder / stem)


def _explain(
    predictor: Predictor, source: np.ndarray, name: str, method: str, target: int | None, stem: Path
) -> Explained:
    kind = explain.METHODS[method]
    pixels = imaging.to_tensor(source[None])
    forward_pass = predictor.explainer(pixels, **kind.call_options(-1 if target is None else target))
    prediction = predictor.of_forward_pass(source, forward_pass)
    target = prediction.top if target is None else target
    heatmap = predictor.heatmap(prediction, method, MapOptions(target))
    picture, overlay = f"{stem.name}.png", f"{stem.name}-{method}.png"
    try:
        plots.enlarge(source).save(stem.with_name(picture))
        plots.overlay(source, explain.scale(heatmap, kind.signed), OPACITY).save(stem.with_name(overlay))
    except OSError as error:
        raise cannot_write(stem.parent, error) from error
    probs = prediction.display_probs
    return Explained(
        name,
        picture=picture,
        overlay=overlay,
        classes=tuple((prediction.classes[i], float(probs[i])) for i in np.argsort(-probs)[:TOP_CLASSES]),
        target=prediction.classes[target] if kind.by_class else "",
        description=explain.describe(heatmap),
    )


def _safe_stem(name: str) -> str:
    """A part of a file name that every system can store and every page can link to."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem)[:60].strip("_") or "picture"


def cannot_write(folder: Path, error: OSError) -> MedvitError:
    """The error for a folder that cannot be written."""
    return MedvitError(f"{folder} cannot be written ({error.strerror or error}). Name another with --out.")


def write_page(folder: Path, predictor: Predictor, method: str, items: Iterable[Explained]) -> Path:
    """Write index.html; return its path."""
    items = list(items)
    page = environment(TEMPLATE.parent).get_template(TEMPLATE.name).render(
        title=f"{explain.METHODS[method].title} of {predictor.checkpoint.title}",
        about=explain.METHODS[method].about,
        explained=[item for item in items if not item.problem],
        unreadable=[item for item in items if item.problem],
    )  # fmt: skip
    try:
        with atomic_file(folder / "index.html", "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder / "index.html"
