"""The Test set tab in a real Chromium: from a number to the pictures behind it, and on into Explore."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from medvit import checkpoint
from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import medmnist, short_name, synthetic

from ..conftest import running_app
from .conftest import open_tab, serious_violations

MODELS = ("cnn", "vit")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Shipped checkpoints: two of BreastMNIST, without their embedding, and one of RetinaMNIST."""
    root = tmp_path_factory.mktemp("checkpoints")
    for folder in ("_ood_reference", "retinamnist/cnn", *(f"breastmnist/{name}" for name in MODELS)):
        shutil.copytree(DEFAULT_ROOT / folder, root / folder)
    for name in MODELS:
        loaded = checkpoint.load(root / "breastmnist" / name)
        checkpoint.write_test(loaded.folder, loaded.test_logits, loaded.test_labels)
    return root


@pytest.fixture(scope="module")
def data_root(root, tmp_path_factory):
    """Archives of synthetic images with the labels that the checkpoints were tested on."""
    data_root = tmp_path_factory.mktemp("data")
    for subset in ("breastmnist", "retinamnist"):
        labels = checkpoint.load(root / subset / "cnn").test_labels
        path = synthetic.write_archive(subset, data_root, {"train": 48, "val": 16, "test": len(labels)})
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez(path, **arrays | {"test_labels": labels[:, None]})
    return data_root


@pytest.fixture(scope="module")
def address(root, data_root, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "app.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDVIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        with running_app("--checkpoints", root, log=log, data_root=data_root) as running:
            yield running
        assert "Traceback" not in log.read_text()


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option).click()


def open_test_set(page, subset="BreastMNIST"):
    if subset != "BreastMNIST":
        choose(page, "Dataset", subset)
    open_tab(page, "Test set")
    page.wait_for_selector("#matrix button[data-row]")


def cell_with_images(page):
    return page.locator("#matrix button[data-row]:not([aria-disabled])").first


def title_says(page, words):
    page.wait_for_function(
        "words => document.querySelector('#cell .title').innerText.includes(words)", arg=words
    )


def truth_of(index, subset, data_root):
    labels = medmnist.load_split(subset, "test", root=data_root)[1]
    return short_name(medmnist.get(subset).classes[labels[index]])


def lands_in_explore(page, says, index, subset, data_root):
    says(page, f"Test image {index}")
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    assert f"true class: {truth_of(index, subset, data_root)}" in page.inner_text("#answer .truth")


@pytest.mark.parametrize(
    ("width", "theme"), [(1366, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)]
)
def test_from_an_upload_to_a_cell_to_its_picture_to_explore(visit, says, data_root, tmp_path, width, theme):
    page = visit(width, 800, theme)
    choose(page, "Dataset", "RetinaMNIST")
    says(page, "grade")
    path = tmp_path / "mine.png"
    Image.fromarray(synthetic.draw("retinamnist", 5)).resize((300, 300)).save(path)
    page.set_input_files("#picture input[type=file]", path)
    says(page, "Your image")
    open_test_set(page)
    cell = cell_with_images(page)
    truth = int(cell.get_attribute("data-row"))
    cell.click()
    title_says(page, f"true class grade {truth}, the model says")
    tile = page.locator("#cell button.tile").first
    index = int(tile.get_attribute("data-index"))
    tile.click()
    lands_in_explore(page, says, index, "retinamnist", data_root)


def test_a_cell_is_reached_and_opened_by_the_keyboard(visit):
    page = visit()
    open_test_set(page)
    page.locator("#matrix button[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    reached = page.evaluate(
        "[document.activeElement.dataset.row, document.activeElement.dataset.column].join()"
    )
    assert reached == "1,1"
    assert "true class normal, benign" in page.inner_text("#matrix .hover")
    cell_with_images(page).focus()
    page.keyboard.press("Enter")
    title_says(page, "true class")


@pytest.mark.slow
def test_the_cells_show_counts_and_fractions(visit):
    page = visit()
    open_test_set(page)
    row = "[...document.querySelectorAll('#matrix tr:nth-child(1) button')].map(b => b.innerText)"
    assert sum(map(int, page.evaluate(row))) == 42  # malignant test images
    page.get_by_label("by row, %").check()
    assert sum(int(text.rstrip("%")) for text in page.evaluate(row)) in (99, 100, 101)
    page.locator("#matrix button[data-row]").first.hover()
    assert "of the true class" in page.inner_text("#matrix .hover")


@pytest.mark.slow
def test_two_models_are_compared(visit, root):
    page = visit()
    open_test_set(page)
    first, second = (checkpoint.load(root / "breastmnist" / name) for name in MODELS)
    best_first = page.get_by_label("Model", exact=True).input_value().startswith(first.title)
    current, other = (first, second) if best_first else (second, first)
    choose(page, "Compare with", other.title)
    button = page.get_by_role("button", name="Disagreements:")
    button.wait_for()
    count = int((first.test_logits.argmax(1) != second.test_logits.argmax(1)).sum())
    assert f"{count} image" in button.inner_text()
    title_says(page, "disagree")
    assert page.locator("#cell button.tile").count() == count
    page.get_by_text("Largest differences as a table").click()
    assert page.locator("#matrix .words th").nth(2).inner_text() == current.title
    choose(page, "Compare with", "no other model")
    title_says(page, "Most confident errors")


def test_a_point_of_the_embedding_opens_its_image(visit, says, data_root):
    page = visit()
    open_test_set(page, "RetinaMNIST")
    open_tab(page, "Embedding", "#details")
    canvas = page.locator("#embedding canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    canvas.focus()
    for _ in range(50):  # keys count from when the points are drawn
        page.keyboard.press("ArrowRight")
        text = page.inner_text("#embedding .hover")
        if re.search(r"image \d", text):
            break
        page.wait_for_timeout(200)
    index = int(text.split()[2])
    assert f"true class: {truth_of(index, 'retinamnist', data_root)}" in text
    page.keyboard.press("Enter")
    lands_in_explore(page, says, index, "retinamnist", data_root)


@pytest.mark.slow
def test_a_checkpoint_without_embedding_gives_the_command(visit):
    page = visit()
    open_test_set(page)
    open_tab(page, "Embedding", "#details")
    page.get_by_text("This checkpoint has no t-SNE embedding").wait_for()


@pytest.mark.slow
def test_the_curves_and_tables_open(visit):
    page = visit()
    open_test_set(page)
    page.wait_for_selector("#details .js-plotly-plot")
    for title in ("Precision-recall", "Learning curve"):
        open_tab(page, title, "#details")
        page.locator("#details .js-plotly-plot:visible").first.wait_for()
    open_tab(page, "Per class", "#details")
    page.get_by_role("columnheader", name="average precision").wait_for()
    open_tab(page, "Published results", "#details")
    page.get_by_text("Halder et al.").wait_for()


def test_similar_images_are_computed_once_and_open(visit, says, data_root):
    page = visit()
    page.get_by_role("button", name="Similar images").click()
    start = page.get_by_role("button", name="Compute the model")
    tile = page.locator("#similar button.tile").first
    start.or_(tile).first.wait_for()
    if start.is_visible():
        start.click()
    tile.wait_for(timeout=60_000)
    index = int(tile.get_attribute("data-index"))
    tile.click()
    lands_in_explore(page, says, index, "breastmnist", data_root)


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tab", ["Explore", "Test set", "Data", "Bulk", "About"])
def test_axe_finds_no_serious_violation(visit, tab, theme):
    page = visit(theme=theme)
    page.get_by_label("show anyway").check()  # the synthetic images are out of distribution, and dimmed
    if tab == "Test set":
        open_test_set(page, "RetinaMNIST")
        open_tab(page, "Per class", "#details")
        page.get_by_role("columnheader", name="average precision").wait_for()
    else:
        open_tab(page, tab)
    if tab == "Data":
        page.locator("#data-examples img:visible").first.wait_for()
    page.wait_for_function("![...document.querySelectorAll('.empty')].some(e => e.offsetParent)")
    page.wait_for_timeout(700)
    assert serious_violations(page) == []


@pytest.mark.parametrize(
    "title",
    [
        "ROC",
        *(
            pytest.param(title, marks=pytest.mark.slow)
            for title in ("Per class", "Embedding", "Published results")
        ),
    ],
)
def test_no_part_of_the_tab_is_wider_than_a_phone(visit, title):
    page = visit(390, 844)
    open_test_set(page, "RetinaMNIST")
    open_tab(page, title, "#details")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
