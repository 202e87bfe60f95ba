"""The Test set tab in a real Chromium: from a number to the pictures behind it, and on into Explore."""

import re

import pytest
from PIL import Image

from medvit import checkpoint
from medvit.data import medmnist, short_name, synthetic
from medvit.evaluation import report
from medvit.evaluation.embedding import tsne

from ..conftest import run_script, running_app
from .conftest import open_tab


@pytest.fixture(scope="module")
def root(trained, synthetic_root, tmp_path_factory):
    """Checkpoints tested on the phantom archives: two of BreastMNIST, one of RetinaMNIST with its map."""
    root = tmp_path_factory.mktemp("checkpoints")
    (root / "breastmnist").mkdir()
    (root / "breastmnist" / "spt_lsa").symlink_to(trained / "breastmnist" / "spt_lsa")
    for subset in ("breastmnist", "retinamnist"):
        done = run_script(
            "train.py", "--subset", subset, "--model", "cnn", "--epochs", "1", "--data-root", synthetic_root,
            "--out", root / subset / "cnn",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = checkpoint.load(root / "retinamnist" / "cnn")
    plane = tsne(report.recompute(found, synthetic_root)[2])
    checkpoint.write_test(found.folder, found.test_logits, found.test_labels, plane)
    return root


@pytest.fixture(scope="module")
def address(root, synthetic_root, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "app.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDVIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        with running_app("--checkpoints", root, log=log, data_root=synthetic_root) as running:
            yield running
        assert "Traceback" not in log.read_text()


def choose(page, label, option):
    page.get_by_label(label).click()
    page.get_by_role("option", name=option).click()


def open_test_set(page, subset="BreastMNIST"):
    if subset != "BreastMNIST":
        choose(page, "Subset", subset)
    open_tab(page, "Test set")
    page.wait_for_selector("#matrix button[data-row]")


def cell_with_images(page):
    return page.locator("#matrix button[data-row]:not([aria-disabled])").first


def title_says(page, words):
    page.wait_for_function(
        "words => document.querySelector('#cell .title').innerText.includes(words)", arg=words
    )


def truth_of(index, subset, synthetic_root):
    labels = medmnist.load_split(subset, "test", root=synthetic_root)[1]
    return short_name(medmnist.get(subset).classes[labels[index]])


def lands_in_explore(page, says, index, subset, synthetic_root):
    says(page, f"Test image {index}")
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    assert f"truth: {truth_of(index, subset, synthetic_root)}" in page.inner_text("#answer .truth")


@pytest.mark.parametrize(("width", "theme"), [(1366, "light"), (390, "dark")])
def test_from_an_upload_to_a_cell_to_its_picture_to_explore(
    visit, says, synthetic_root, tmp_path, width, theme
):
    page = visit(width, 800, theme)
    choose(page, "Subset", "RetinaMNIST")
    says(page, "grade")
    path = tmp_path / "mine.png"
    Image.fromarray(synthetic.draw("retinamnist", 5)).resize((300, 300)).save(path)
    page.set_input_files("#picture input[type=file]", path)
    says(page, "Your image")
    open_test_set(page)
    cell = cell_with_images(page)
    truth = int(cell.get_attribute("data-row"))
    cell.click()
    title_says(page, f"truth grade {truth}, the model says")
    tile = page.locator("#cell button.tile").first
    index = int(tile.get_attribute("data-index"))
    tile.click()
    lands_in_explore(page, says, index, "retinamnist", synthetic_root)


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
    assert "truth normal, benign" in page.inner_text("#matrix .hover")
    cell_with_images(page).focus()
    page.keyboard.press("Enter")
    title_says(page, "truth")


def test_the_cells_show_counts_and_shares(visit):
    page = visit()
    open_test_set(page)
    shown = "[...document.querySelectorAll('#matrix tr:nth-child(1) button')].map(b => b.innerText)"
    assert sum(map(int, page.evaluate(shown))) == 8
    page.get_by_label("by row, %").check()
    assert sum(int(text.rstrip("%")) for text in page.evaluate(shown)) in (99, 100, 101)
    page.locator("#matrix button[data-row]").first.hover()
    assert "of this truth" in page.inner_text("#matrix .hover")


def test_two_models_are_compared(visit, root):
    page = visit()
    open_test_set(page)
    choose(page, "Compare with", "CNN")
    button = page.get_by_role("button", name="Where they disagree:")
    button.wait_for()
    one, other = (checkpoint.load(root / "breastmnist" / name) for name in ("spt_lsa", "cnn"))
    differ = int((one.test_logits.argmax(1) != other.test_logits.argmax(1)).sum())
    assert f"{differ} image" in button.inner_text()
    title_says(page, "disagree")
    assert page.locator("#cell button.tile").count() == differ
    page.get_by_text("The largest differences in words").click()
    assert page.locator("#matrix .words th").nth(2).inner_text() == one.title
    choose(page, "Compare with", "no other model")
    title_says(page, "Worst mistakes")


def test_a_point_of_the_map_opens_its_image(visit, says, synthetic_root):
    page = visit()
    open_test_set(page, "RetinaMNIST")
    open_tab(page, "Map", "#details")
    canvas = page.locator("#map canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    canvas.focus()
    for _ in range(50):  # keys count from when the points are drawn
        page.keyboard.press("ArrowRight")
        words = page.inner_text("#map .hover")
        if re.search(r"image \d", words):
            break
        page.wait_for_timeout(200)
    index = int(words.split()[2])
    assert f"truth: {truth_of(index, 'retinamnist', synthetic_root)}" in words
    page.keyboard.press("Enter")
    lands_in_explore(page, says, index, "retinamnist", synthetic_root)


def test_a_checkpoint_without_a_map_says_how_to_make_it(visit):
    page = visit()
    open_test_set(page)
    open_tab(page, "Map", "#details")
    page.get_by_text("There is no map in this checkpoint").wait_for()


def test_the_curves_and_tables_open(visit):
    page = visit()
    open_test_set(page)
    page.wait_for_selector("#details .js-plotly-plot")
    for title in ("Precision-recall", "Learning curve"):
        open_tab(page, title, "#details")
        page.locator("#details .js-plotly-plot:visible").first.wait_for()
    open_tab(page, "Each class", "#details")
    page.get_by_role("columnheader", name="average precision").wait_for()
    open_tab(page, "Published figures", "#details")
    page.get_by_text("Halder et al.").wait_for()


def test_similar_cases_are_computed_once_and_open(visit, says, synthetic_root, tmp_path):
    page = visit()
    page.get_by_role("button", name="Similar cases").click()
    start = page.get_by_role("button", name="Compute the model")
    tile = page.locator("#similar button.tile").first
    start.or_(tile).first.wait_for()
    if start.is_visible():
        start.click()
    tile.wait_for(timeout=60_000)
    index = int(tile.get_attribute("data-index"))
    tile.click()
    lands_in_explore(page, says, index, "breastmnist", synthetic_root)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Explore", "Test set", "About"])
def test_axe_finds_no_serious_violation(visit, tab, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = visit(theme=theme)
    if tab == "Test set":
        open_test_set(page, "RetinaMNIST")
        open_tab(page, "Each class", "#details")
        page.get_by_role("columnheader", name="average precision").wait_for()
    else:
        open_tab(page, tab)
    page.wait_for_timeout(700)
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (one["id"], node["target"])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []


@pytest.mark.parametrize("title", ["ROC", "Each class", "Map", "Published figures"])
def test_no_part_of_the_tab_is_wider_than_a_phone(visit, title):
    page = visit(390, 844)
    open_test_set(page, "RetinaMNIST")
    open_tab(page, title, "#details")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
