"""The screens in a real Chromium: what a visitor does, on a desktop and on a phone, light and dark."""

import re

import pytest
from PIL import Image

from medvit.data import synthetic

from .conftest import open_tab

ROLLOUT = re.compile(r"^\s*Rollout")  # a ✓ follows where it is faithful


def choose(page, label, option):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option).click()


def headline_says(page, words):
    page.wait_for_function(
        "words => document.querySelector('#headline').innerText.includes(words)", arg=words
    )


def map_is(page, title):
    page.wait_for_function(
        "title => document.querySelector('#heatmap .map').alt.startsWith(title)", arg=title
    )


def upload(page, path, number=5, subset="retinamnist", size=(500, 400)):
    Image.fromarray(synthetic.draw(subset, number)).resize(size).save(path)
    page.set_input_files("#picture input[type=file]", path)


@pytest.mark.slow
def test_the_first_view_is_the_best_model_and_its_most_faithful_map(visit):
    page = visit()
    assert page.get_by_label("Dataset").input_value() == "BloodMNIST"
    assert page.get_by_label("Model").input_value().startswith("ViT, fine-tuned")
    map_is(page, "Relevance map for")
    assert "It ranks 1 of" in page.inner_text("#faithfulness")


def test_a_first_visit_from_picker_to_map(visit, says, tmp_path):
    page = visit()
    says(page, "The model says")
    says(page, "not for diagnosis")
    choose(page, "Dataset", "RetinaMNIST")
    says(page, "grade")
    choose(page, "Model", "CNN")
    headline_says(page, "2.8 M")
    page.get_by_label(ROLLOUT).wait_for(state="detached")  # the answer of the CNN is displayed
    choose(page, "Model", "fine-tuned")
    headline_says(page, "5.5 M")
    page.get_by_label(ROLLOUT).click()
    map_is(page, "Rollout")
    upload(page, tmp_path / "mine.png")
    says(page, "Your image")
    page.locator("#examples button").nth(3).click()
    says(page, "true class")


@pytest.mark.slow
def test_the_last_of_many_quick_choices_is_displayed(visit, says):
    page = visit()
    for name in ("from scratch", "CNN", "fine-tuned"):
        choose(page, "Model", name)
    headline_says(page, "5.5 M")
    for _ in range(4):
        page.get_by_role("button", name="Random image").click()
    page.wait_for_timeout(3000)
    origin = page.inner_text(".thumbnail p").split(",")[0].splitlines()[-1].lower()
    choose(page, "Prediction set", "99")
    says(page, "99% prediction set")
    assert origin in page.inner_text("#answer .truth").lower()


@pytest.mark.slow
def test_an_upload_and_a_change_of_model_at_once_keep_both(visit, says, tmp_path):
    page = visit()
    upload(page, tmp_path / "mine.png", subset="bloodmnist")
    choose(page, "Model", "CNN")
    headline_says(page, "2.8 M")
    says(page, "Your image")
    page.get_by_label(ROLLOUT).wait_for(state="detached")
    page.wait_for_timeout(1000)
    says(page, "Your image")
    assert page.get_by_label(ROLLOUT).count() == 0


def test_a_bad_upload_is_one_notice_and_the_answer_stays(visit, says, tmp_path):
    page = visit()
    before = page.inner_text("#answer .answer")
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    page.set_input_files("#picture input[type=file]", path)
    page.wait_for_selector(".toast-body")
    assert "image" in page.inner_text(".toast-body")
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
        upload(page, tmp_path / f"{number}.png", number, "bloodmnist", (28, 28))
        says(page, "Your image")
        page.get_by_role("button", name="Remove Image").click()
        page.wait_for_selector("#picture button[aria-label^='Drop']")
        says(page, "Your image")
        page.locator("#examples button").nth(number).click()
        says(page, "Test image")


@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
@pytest.mark.parametrize("tab", ["Explore", "Compare", "Test set", "Data", "Bulk", "About"])
def test_nothing_is_wider_than_a_phone(visit, tab, theme):
    page = visit(390, 844, theme)
    open_tab(page, tab)
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_first_answer_needs_no_scrolling_on_a_laptop(visit):
    page = visit()
    for part in ("#picture", "#heatmap", "#answer .label"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] < 768


def test_a_click_on_the_image_shows_what_that_patch_attends_to(visit):
    page = visit()
    for picture in ("img.map", "img:not(.map)"):
        first_head = page.locator("#heads img").first.get_attribute("src")
        box = page.locator(f"#heatmap {picture}").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
        place = "row 4, column 4" if picture == "img.map" else "class token"
        page.wait_for_function(f"document.querySelector('#about').innerText.includes('{place}')")
        page.wait_for_function("src => document.querySelector('#heads img').src != src", arg=first_head)
    page.locator("#heads button").nth(1).click()
    page.wait_for_selector("#heads button:nth-child(2)[aria-pressed='true']")
    page.get_by_label("Relevance ✓").click()
    map_is(page, "Relevance map for")


def test_the_keyboard_selects_a_patch(visit):
    page = visit()
    page.get_by_role("button", name="Patch in row 1, column 1").focus()
    for key in ("ArrowUp", "ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("document.querySelector('#about').innerText.includes('row 3, column 2')")
    page.wait_for_function("document.activeElement.ariaLabel?.startsWith('Patch in row 3, column 2')")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('#about').innerText.includes('row 3, column 3')")
    choose(page, "Model", "CNN")
    page.locator("#heatmap .patch").wait_for(state="detached")


@pytest.mark.slow
def test_the_test_of_a_map_goes_with_the_map(visit):
    page = visit()
    result = "text=While the patches of this image are blurred"
    page.click("#test-map")
    page.wait_for_selector(result)
    page.locator("#heads button").nth(1).click()
    page.wait_for_selector(result, state="detached")


@pytest.mark.slow
def test_compare_shows_every_model_and_follows_the_dataset(visit):
    page = visit()
    open_tab(page, "Compare")
    page.wait_for_selector("#compared .models section:nth-child(4)")
    assert page.locator("#compared .models img").count() == 4
    choose(page, "Dataset", "BreastMNIST")
    page.wait_for_function(
        "/malignant|benign/.test(document.querySelector('#compared .agreement').innerText)"
    )


@pytest.mark.slow
def test_an_image_picked_in_explore_is_compared(visit, says, tmp_path):
    page = visit()
    upload(page, tmp_path / "mine.png", subset="bloodmnist")
    says(page, "Your image")
    open_tab(page, "Compare")
    page.wait_for_function("document.querySelector('#compared')?.innerText.includes('Your image')")


@pytest.mark.slow
def test_a_painted_region_changes_the_answer(visit):
    page = visit()
    page.get_by_role("button", name="Perturbation test").click()
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
    page.click("#predict-masked")
    page.wait_for_function("document.querySelector('#masked').innerText.includes('of the image removed')")
    assert "Occlusion" in page.inner_text("#masked")


def test_the_report_is_saved(visit):
    page = visit()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save a report").click()
    assert download.value.suggested_filename.startswith("medvit-bloodmnist-vit_finetuned-")
