"""The screens in a real Chromium: what a visitor does, on a desktop and on a phone, light and dark."""

import shutil

import pytest
from PIL import Image

from medvit import phantoms

from ..conftest import running_app

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def address(phantom_root, tmp_path_factory):
    """An app over the shipped checkpoints, with phantom archives in place of the data."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app(log=log, data_root=phantom_root) as running:
        yield running
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture
def visit(browser, address):
    """Open the app in a window; at the end, nothing was fetched from outside and no error was logged."""
    complaints, opened = [], []

    def go(width=1366, height=768, theme="light"):
        page = browser.new_page(viewport={"width": width, "height": height})
        opened.append(page)
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _check_address(request.url, complaints))
        page.goto(f"{address}/?__theme={theme}", wait_until="domcontentloaded")
        page.wait_for_selector(".answer .label", timeout=60_000)
        return page

    yield go
    for page in opened:
        page.close()
    assert complaints == []


def _check_address(url, complaints):
    if not url.startswith(("http://127.0.0.1", "data:", "blob:")):
        complaints.append(f"request to {url}")


def says(page, words):
    """Wait until the answer holds these words."""
    page.wait_for_function("words => document.querySelector('#answer').innerText.includes(words)", arg=words)


def test_a_first_visit_from_picker_to_map(visit, tmp_path):
    page = visit()
    says(page, "The model says")
    says(page, "not for diagnosis")
    page.get_by_label("Subset").click()
    page.get_by_role("option", name="RetinaMNIST").click()
    says(page, "grade")
    page.get_by_label("Model").click()
    page.get_by_role("option", name="CNN").click()
    page.wait_for_function("document.querySelector('#headline').innerText.includes('2.8 M')")
    page.get_by_label("Model").click()
    page.get_by_role("option", name="fine-tuned").click()
    page.wait_for_function("document.querySelector('#headline').innerText.includes('5.5 M')")
    page.get_by_label("Rollout").click()
    page.wait_for_function("document.querySelector('#overlay img').alt.startsWith('Rollout')")

    path = tmp_path / "mine.png"
    Image.fromarray(phantoms.draw("retinamnist", 5)).resize((500, 400)).save(path)
    page.set_input_files("#picture input[type=file]", path)
    says(page, "Your image")
    page.locator("#examples .thumbnail-item").nth(3).click()
    says(page, "truth")


def test_a_bad_upload_is_one_notice_and_the_answer_stays(visit, tmp_path):
    page = visit()
    before = page.inner_text("#answer .answer")
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    page.set_input_files("#picture input[type=file]", path)
    page.wait_for_selector(".toast-body")
    assert "picture" in page.inner_text(".toast-body")
    page.wait_for_selector("#picture button[aria-label^='Drop']")  # the box is empty again
    assert page.inner_text("#answer .answer") == before


def test_removing_a_picture_and_uploading_another_one(visit, tmp_path):
    page = visit()
    for number in (1, 2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(phantoms.draw("bloodmnist", number)).save(path)
        page.set_input_files("#picture input[type=file]", path)
        says(page, "Your image")
        page.get_by_role("button", name="Remove Image").click()
        page.wait_for_selector("#picture button[aria-label^='Drop']")
        says(page, "Your image")
        page.locator("#examples .thumbnail-item").nth(number).click()
        says(page, "Test image")


def test_the_test_set_shows_the_matrix_in_three_ways(visit):
    page = visit()
    page.get_by_role("tab", name="Test set").click()
    cell = page.locator("#matrix td.hit").first
    count = cell.inner_text()
    assert int(count) > 0
    page.get_by_label("by row").click()
    page.wait_for_function("document.querySelector('#matrix td.hit').innerText.endsWith('%')")
    assert "images" in cell.get_attribute("title")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Explore", "Test set", "About"])
def test_nothing_is_wider_than_a_phone(visit, tab, theme):
    page = visit(390, 844, theme)
    page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_first_answer_needs_no_scrolling_on_a_laptop(visit):
    page = visit()
    for part in ("#picture", "#overlay", "#answer .label"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] < 768
