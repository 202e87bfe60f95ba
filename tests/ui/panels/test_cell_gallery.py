"""The gallery of the test images behind a cell of the confusion matrix, the errors or the disagreements."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import medmnist, short_name
from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.ui.components.gallery import PAGE
from medvit.ui.panels import cell_gallery
from medvit.ui.panels.cell_gallery import GallerySelection

CELLS = [GallerySelection("cell", row, column) for row in (0, 1) for column in (0, 1)]


@pytest.fixture(scope="module")
def write_archive(registry):
    """Write an archive of black images with the labels that the shipped models were tested on, or others."""
    labels = registry.checkpoint("breastmnist", "cnn").test_labels

    def write(root, labels=labels):
        images = np.zeros((len(labels), 28, 28), np.uint8)
        np.savez(medmnist.archive_path("breastmnist", root=root), test_images=images, test_labels=labels)
        return Registry.open(DEFAULT_ROOT, root)

    return write


@pytest.fixture(scope="module")
def with_data(write_archive, tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("data"))


def page(registry, selection, number=0, other_name=None):
    return cell_gallery.page(registry, "breastmnist", "cnn", other_name, selection, number)


def indices(html):
    return [int(i) for i in re.findall(r"data-index=['\"](\d+)['\"]", html)]


@pytest.mark.parametrize("selection", CELLS)
def test_the_gallery_of_a_cell_has_exactly_its_images_most_confident_first(with_data, selection):
    checkpoint = with_data.checkpoint("breastmnist", "cnn")
    predicted = checkpoint.test_logits.argmax(1)
    in_cell = np.flatnonzero((checkpoint.test_labels == selection.row) & (predicted == selection.column))
    pages = [page(with_data, selection, number) for number in range(-(-len(in_cell) // PAGE))]
    displayed = [index for html in pages for index in indices(html)]
    assert sorted(displayed) == in_cell.tolist()
    confidence = checkpoint.test_logits.astype(float).max(1) - checkpoint.test_logits.astype(float).min(1)
    assert (np.diff(confidence[displayed]) <= 1e-2).all()


def test_errors_are_the_misclassified_images(with_data):
    checkpoint = with_data.checkpoint("breastmnist", "cnn")
    wrong = np.flatnonzero(checkpoint.test_logits.argmax(1) != checkpoint.test_labels)
    assert sorted(indices(page(with_data, GallerySelection()))) == wrong.tolist()


def test_disagreements_name_both_models(with_data):
    checkpoints = [with_data.checkpoint("breastmnist", name) for name in ("cnn", "vit")]
    predicted = [checkpoint.test_logits.argmax(1) for checkpoint in checkpoints]
    html = page(with_data, GallerySelection("disagreements"), other_name="vit")
    assert sorted(indices(html)) == np.flatnonzero(predicted[0] != predicted[1]).tolist()
    assert all(f"{checkpoint.title} says" in html for checkpoint in checkpoints)


def test_a_cell_of_two_models_has_the_images_that_one_of_them_put_there(with_data):
    checkpoints = [with_data.checkpoint("breastmnist", name) for name in ("cnn", "vit")]
    in_cell = [
        (checkpoint.test_labels == 1) & (checkpoint.test_logits.argmax(1) == 0) for checkpoint in checkpoints
    ]
    html = page(with_data, GallerySelection("cell", 1, 0), other_name="vit")
    assert sorted(indices(html)) == np.flatnonzero(in_cell[0] ^ in_cell[1]).tolist()


@pytest.mark.parametrize(
    ("selection", "number"),
    [(GallerySelection("cell", 0, 2), 0), (GallerySelection("cell", -1, 0), 0),
     (GallerySelection("nonsense"), 0), (GallerySelection("disagreements"), 0),
     (GallerySelection(), 1), (GallerySelection(), -1)],
)  # fmt: skip
def test_a_selection_that_no_screen_offers_is_refused(with_data, selection, number):
    with pytest.raises(MedvitError, match="There is no"):
        page(with_data, selection, number)


def test_registry_the_gallery_gives_the_command_and_describes_the_images(registry):
    html = page(registry, CELLS[0])
    assert "not on this machine" in html
    assert medmnist.download_command("breastmnist") in html
    assert "true class malignant; the model says malignant, " in html
    assert "<img" not in html


def test_images_of_another_archive_are_not_displayed(write_archive, registry, tmp_path):
    other = write_archive(tmp_path, 1 - registry.checkpoint("breastmnist", "cnn").test_labels)
    html = page(other, CELLS[0])
    assert "<img" not in html
    assert "not the one this model was tested on" in html


def test_an_image_with_several_labels_is_described_by_all_of_them(tmp_path):
    dataset = medmnist.get("chestmnist")
    labels = np.eye(14, dtype=np.int64)[:3]
    logits = np.where(labels, 4.0, -4.0)
    logits[2, 5] = 4.0
    checkpoint = SimpleNamespace(
        dataset=dataset, test_logits=logits, test_labels=labels, card={"source_size": 28}, title="CNN",
        model_name="cnn",
    )  # fmt: skip
    registry = Registry([SimpleNamespace(checkpoint=checkpoint)], tmp_path, tmp_path)
    html = cell_gallery.page(registry, "chestmnist", "cnn", None, GallerySelection())
    names = [short_name(name) for name in dataset.classes]
    assert f"Test image 2: true labels {names[2]}; the model says {names[2]} 98.2%, {names[5]} 98.2%" in html
