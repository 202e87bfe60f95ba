"""The screens in a real Chromium: what a visitor does, on a desktop and on a phone, light and dark."""

import pytest
from PIL import Image

from medvit.data import synthetic

from ..conftest import running_app
from .conftest import open_tab


@pytest.fixture(scope="module")
def address(synthetic_root, tmp_path_factory):
    """An app over the shipped checkpoints, with phantom archives in place of the data."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app(log=log, data_root=synthetic_root) as running:
        yield running
        assert "Traceback" not in log.read_text()


def test_a_first_visit_from_picker_to_map(visit, says, tmp_path):
    page = visit()
    says(page, "The model says")
    says(page, "not for diagnosis")
    page.get_by_label("Subset").click()
    page.get_by_role("option", name="RetinaMNIST").click()
    says(page, "grade")
    page.get_by_label("Model").click()
    page.get_by_role("option", name="CNN").click()
    page.wait_for_function("document.querySelector('#headline').innerText.includes('2.8 M')")
    page.get_by_label("Rollout", exact=True).wait_for(state="detached")  # the CNN has answered
    page.get_by_label("Model").click()
    page.get_by_role("option", name="fine-tuned").click()
    page.wait_for_function("document.querySelector('#headline').innerText.includes('5.5 M')")
    page.get_by_label("Rollout", exact=True).click()
    page.wait_for_function("document.querySelector('#overlay img').alt.startsWith('Rollout')")

    path = tmp_path / "mine.png"
    Image.fromarray(synthetic.draw("retinamnist", 5)).resize((500, 400)).save(path)
    page.set_input_files("#picture input[type=file]", path)
    says(page, "Your image")
    page.locator("#examples button").nth(3).click()
    says(page, "truth")


def test_what_is_picked_in_haste_is_what_is_shown(visit, says):
    page = visit()
    for name in ("from scratch", "CNN", "fine-tuned"):
        page.get_by_label("Model").click()
        page.get_by_role("option", name=name).click()
    page.wait_for_function("document.querySelector('#headline').innerText.includes('5.5 M')")
    for _ in range(4):
        page.get_by_role("button", name="Surprise me").click()
    page.wait_for_timeout(3000)
    origin = page.inner_text(".seen p").split(",")[0].splitlines()[-1].lower()
    page.get_by_label("Set of answers").click()
    page.get_by_role("option", name="99").click()
    says(page, "99% set")
    assert origin in page.inner_text("#answer .truth").lower()


def test_a_bad_upload_is_one_notice_and_the_answer_stays(visit, says, tmp_path):
    page = visit()
    before = page.inner_text("#answer .answer")
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    page.set_input_files("#picture input[type=file]", path)
    page.wait_for_selector(".toast-body")
    assert "picture" in page.inner_text(".toast-body")
    page.wait_for_selector("#picture button[aria-label^='Drop']")  # the box is empty again
    assert page.inner_text("#answer .answer") == before


def test_a_dicom_file_is_an_image_too(visit, says):
    data = pytest.importorskip("pydicom.data")
    page = visit()
    page.set_input_files("[data-testid^=DICOM]", data.get_testdata_file("CT_small.dcm"))
    says(page, "Your image")
    assert "CompressedSamples" not in page.content()  # the name of the patient


def test_removing_a_picture_and_uploading_another_one(visit, says, tmp_path):
    page = visit()
    for number in (1, 2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(synthetic.draw("bloodmnist", number)).save(path)
        page.set_input_files("#picture input[type=file]", path)
        says(page, "Your image")
        page.get_by_role("button", name="Remove Image").click()
        page.wait_for_selector("#picture button[aria-label^='Drop']")
        says(page, "Your image")
        page.locator("#examples button").nth(number).click()
        says(page, "Test image")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Explore", "Test set", "About"])
def test_nothing_is_wider_than_a_phone(visit, tab, theme):
    page = visit(390, 844, theme)
    open_tab(page, tab)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_first_answer_needs_no_scrolling_on_a_laptop(visit):
    page = visit()
    for part in ("#picture", "#overlay", "#answer .label"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] < 768


def test_a_click_on_the_image_shows_what_that_patch_attends_to(visit, says):
    page = visit()
    box = page.locator("#overlay img").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.wait_for_function("document.querySelector('#about').innerText.includes('row 4, column 4')")
    page.locator("#heads button").nth(1).click()
    page.wait_for_selector("#heads button:nth-child(2)[aria-pressed='true']")
    page.get_by_label("Relevance").click()
    page.wait_for_function("document.querySelector('#overlay img').alt.startsWith('Relevance map for')")


def test_a_test_of_a_map_goes_with_the_map(visit):
    page = visit()
    told = "text=blurring what the map marks first"
    page.click("#test-map")
    page.wait_for_selector(told)
    page.locator("#heads button").nth(1).click()
    page.wait_for_selector(told, state="detached")


def test_compare_shows_every_model_and_follows_the_subset(visit):
    page = visit()
    open_tab(page, "Compare")
    page.wait_for_selector("#compared .models section:nth-child(4)")
    assert page.locator("#compared .models img").count() == 4
    page.get_by_label("Subset").click()
    page.get_by_role("option", name="BreastMNIST").click()
    page.wait_for_function(
        "/malignant|benign/.test(document.querySelector('#compared .agreement').innerText)"
    )


def test_what_is_painted_over_changes_the_answer(visit, says):
    page = visit()
    page.get_by_role("button", name="Erase and ask again").click()
    canvas = page.locator("#canvas canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y - 20)
    page.mouse.down()
    for dx, dy in ((40, -20), (40, 20), (-40, 20)):
        page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.click("#ask-again")
    page.wait_for_function("document.querySelector('#erased').innerText.includes('of the image erased')")
    assert "Occlusion" in page.inner_text("#erased")
