"""The gallery of test images behind a cell of the confusion matrix, the errors or the disagreements."""

from dataclasses import dataclass

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.data import how_to_get, short_name
from medvit.errors import MedvitError
from medvit.evaluation import selection as select
from medvit.evaluation.metrics import probabilities
from medvit.inference.registry import Registry
from medvit.ui.components.confusion_matrix import images
from medvit.ui.components.gallery import PAGE, Item, render


@dataclass(frozen=True)
class GallerySelection:
    """The test images in the gallery: "errors", "disagreements", or those of a "cell" of the matrix."""

    kind: str = "errors"
    row: int = 0
    column: int = 0


def page(
    registry: Registry,
    subset: str,
    model: str,
    other_name: str | None,
    selection: GallerySelection,
    number: int = 0,
) -> str:
    """Render page `number` of a selection as HTML; `other_name` is the model to compare with.

    Raises:
        MedvitError: there is no such model, cell or page.
    """
    checkpoint = registry.checkpoint(subset, model)
    other_model = registry.checkpoint(subset, other_name) if other_name else None
    indices, title = _select(checkpoint, other_model, selection)
    if not 0 <= number <= max(0, len(indices) - 1) // PAGE:
        raise MedvitError(f"There is no page {number + 1}.")
    on_page = indices[number * PAGE : (number + 1) * PAGE]
    note = f"{images(len(indices))}, most confident first" if len(indices) else "There is none."
    try:
        pictures = registry.test_images(subset, model)[on_page]
    except MedvitError:
        pictures = None
        note += _why_no_pictures(registry, checkpoint)
    compared = other_model if selection.kind != "errors" else None
    items = [_item(checkpoint, compared, int(index)) for index in on_page]
    return render(title, note, items, pictures, number, len(indices))


def _select(
    checkpoint: Checkpoint, other_model: Checkpoint | None, selection: GallerySelection
) -> tuple[np.ndarray, str]:
    """Return the indices of the selected test images and the title of the gallery."""
    labels, classes = checkpoint.test_labels, checkpoint.dataset.classes
    probs = probabilities(checkpoint.test_logits, checkpoint.dataset.multi_label)
    if selection.kind == "errors":
        return select.misclassified(probs, labels), "Most confident errors"
    if selection.kind == "disagreements" and other_model:
        title = f"{checkpoint.title} and {other_model.title} disagree"
        return select.disagreements(probs, probabilities(other_model.test_logits)), title
    row, column = selection.row, selection.column
    if selection.kind != "cell" or not all(0 <= i < len(classes) for i in (row, column)):
        raise MedvitError("There is no such cell in the matrix.")
    truth, predicted = f"true class {short_name(classes[row])}", short_name(classes[column])
    if other_model:
        title = f"{truth}, and only one of {checkpoint.title} and {other_model.title} says {predicted}"
        other_probs = probabilities(other_model.test_logits)
        return select.in_one_cell_only(probs, other_probs, labels, row, column), title
    return select.in_cell(probs, labels, row, column), f"{truth}, the model says {predicted}"


def _why_no_pictures(registry: Registry, checkpoint: Checkpoint) -> str:
    subset = checkpoint.dataset.name
    if registry.has_data(subset):
        return ". The archive on disk is not the one this model was tested on, so no picture is displayed."
    way = how_to_get(checkpoint.dataset, checkpoint.card["source_size"])
    return f". The pictures are not on this machine. To get them: {way}."


def _item(checkpoint: Checkpoint, other_model: Checkpoint | None, index: int) -> Item:
    """One test image: its caption, and in words its true class and what the models say."""
    subset = checkpoint.dataset
    classes = tuple(map(short_name, subset.classes))
    probs = probabilities(checkpoint.test_logits[index], subset.multi_label)
    if subset.multi_label:
        return _multi_label_item(classes, probs, checkpoint.test_labels[index], index)
    top = int(probs.argmax())
    caption = f"{probs[top]:.1%}"
    answer = f"{checkpoint.title if other_model else 'the model'} says {classes[top]}, {probs[top]:.1%}"
    if other_model:
        other_probs = probabilities(other_model.test_logits[index])
        other_top = int(other_probs.argmax())
        caption = f"{100 * probs[top]:.0f} · {other_probs[other_top]:.0%}"
        answer += f"; {other_model.title} says {classes[other_top]}, {other_probs[other_top]:.1%}"
    truth = classes[checkpoint.test_labels[index]]
    return Item(index, caption, f"Test image {index}: true class {truth}; {answer}")


def _multi_label_item(classes: tuple[str, ...], probs: np.ndarray, labels: np.ndarray, index: int) -> Item:
    """An image that can have several labels: its true labels and the predicted ones."""
    truth = ", ".join(name for name, label in zip(classes, labels, strict=True) if label) or "no label"
    predicted = [f"{name} {prob:.1%}" for name, prob in zip(classes, probs, strict=True) if prob > 0.5]
    worst = int(np.abs(probs - labels).argmax())
    words = f"Test image {index}: true labels {truth}; the model says {', '.join(predicted) or 'no label'}"
    return Item(index, f"{probs[worst]:.0%}", words)
