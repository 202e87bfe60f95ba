"""The test images behind a cell, a mistake or a disagreement, as a page of the gallery."""

from dataclasses import dataclass

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.data.medmnist import fetch_command, short_name
from medvit.errors import MedvitError
from medvit.evaluation import selection as select
from medvit.evaluation.metrics import probabilities
from medvit.inference.registry import Registry
from medvit.ui.components.confusion_matrix import images
from medvit.ui.components.gallery import PAGE, Item, render


@dataclass(frozen=True)
class Selection:
    """What the gallery shows: "mistakes", "disagreements", or the images of a "cell" of the matrix."""

    kind: str = "mistakes"
    row: int = 0
    column: int = 0


def page(
    registry: Registry, subset: str, model: str, other: str | None, selection: Selection, number: int = 0
) -> str:
    """The HTML of page `number` of a selection; `other` is the model compared with.

    Raises:
        MedvitError: there is no such model, cell or page.
    """
    found = registry.checkpoint(subset, model)
    rival = registry.checkpoint(subset, other) if other else None
    indices, title = _choose(found, rival, selection)
    if not 0 <= number <= max(0, len(indices) - 1) // PAGE:
        raise MedvitError(f"There is no page {number + 1}.")
    shown = indices[number * PAGE : (number + 1) * PAGE]
    note = f"{images(len(indices))}, most confident first" if len(indices) else "There is none."
    try:
        pictures = registry.test_pictures(subset, model)[shown]
    except MedvitError:
        pictures = None
        command = fetch_command(subset, found.card["source_size"])
        note += (
            f". The pictures are not on this machine; {command} fetches them."
            if not registry.has_data(subset)
            else ". The archive on disk is not the one this model was tested on, so no picture is shown."
        )
    return render(title, note, _items(found, rival, selection, shown), pictures, number, len(indices))


def _choose(found: Checkpoint, rival: Checkpoint | None, selection: Selection) -> tuple[np.ndarray, str]:
    labels, classes = found.test_labels, found.subset.classes
    scores = probabilities(found.test_logits, found.subset.multi_label)
    if selection.kind == "mistakes":
        return select.mistakes(scores, labels), "Worst mistakes"
    if selection.kind == "disagreements" and rival:
        others = probabilities(rival.test_logits)
        return select.disagreements(scores, others), f"{found.title} and {rival.title} disagree"
    if selection.kind != "cell" or not all(0 <= i < len(classes) for i in (selection.row, selection.column)):
        raise MedvitError("There is no such cell in the matrix.")
    pair = f"truth {short_name(classes[selection.row])}"
    said = short_name(classes[selection.column])
    if rival:
        others = probabilities(rival.test_logits)
        chosen = select.in_one_cell_only(scores, others, labels, selection.row, selection.column)
        return chosen, f"{pair}, and only one of {found.title} and {rival.title} says {said}"
    return (
        select.in_cell(scores, labels, selection.row, selection.column),
        f"{pair}, the model says {said}",
    )


def _items(
    found: Checkpoint, rival: Checkpoint | None, selection: Selection, shown: np.ndarray
) -> list[Item]:
    subset = found.subset
    classes = tuple(map(short_name, subset.classes))
    scores = probabilities(found.test_logits[shown], subset.multi_label)
    if subset.multi_label:
        return [
            _labels_item(classes, *one) for one in zip(shown, scores, found.test_labels[shown], strict=True)
        ]
    others = None
    if rival and selection.kind != "mistakes":
        others = probabilities(rival.test_logits[shown])
    items = []
    for i, index in enumerate(shown):
        top = int(scores[i].argmax())
        says = (
            f"{found.title if others is not None else 'the model'} says {classes[top]}, {scores[i, top]:.1%}"
        )
        caption = f"{scores[i, top]:.1%}"
        if others is not None and rival:
            second = int(others[i].argmax())
            says += f"; {rival.title} says {classes[second]}, {others[i, second]:.1%}"
            caption = f"{100 * scores[i, top]:.0f} · {others[i, second]:.0%}"
        words = f"Test image {index}: truth {classes[found.test_labels[index]]}; {says}"
        items.append(Item(int(index), caption, words))
    return items


def _labels_item(classes: tuple[str, ...], index: int, scores: np.ndarray, labels: np.ndarray) -> Item:
    """An image that can have several labels: what it has, and what it is given."""
    has = ", ".join(name for name, one in zip(classes, labels, strict=True) if one) or "no label"
    given = [f"{name} {score:.1%}" for name, score in zip(classes, scores, strict=True) if score > 0.5]
    wrong = int(np.abs(scores - labels).argmax())
    words = f"Test image {index}: truth {has}; the model says {', '.join(given) or 'no label'}"
    return Item(int(index), f"{scores[wrong]:.0%}", words)
