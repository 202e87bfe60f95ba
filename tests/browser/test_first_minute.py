"""The first minute in a real Chromium: introduction, glossary, all maps, the picture alone, links, keys."""

import re

import pytest

from .conftest import open_tab

SIZES = [(1366, 768), pytest.param((390, 844), marks=pytest.mark.slow)]
LINK = "dataset=breastmnist&model=vit&index=2&map=rollout&tab=explore"


def tip_says(page, words):
    page.wait_for_function(
        "words => { const tip = document.querySelector('.tip');"
        " return tip.matches(':popover-open') && tip.innerText.includes(words); }",
        arg=words,
    )


def tip_is_closed(page):
    page.wait_for_function("!document.querySelector('.tip').matches(':popover-open')")


def places(page):
    """Where the parts of the screen are."""
    script = (
        "[...document.querySelectorAll('#picture, #heatmap, #answer')].map(e => e.offsetTop + e.offsetLeft)"
    )
    return page.evaluate(script)


@pytest.mark.parametrize("size", SIZES)
def test_the_introduction_has_three_steps_moves_nothing_and_is_remembered(visit, size):
    page = visit(*size)
    box = page.locator("#introduction section")
    before = places(page)
    for step, part in ((1, "#picture"), (2, "#heatmap"), (3, "#answer")):
        assert f"{step} of 3" in box.inner_text()
        page.wait_for_selector(f"{part}.introduced")
        box.get_by_role("button", name="Done" if step == 3 else "Next").click()
    box.wait_for(state="hidden")
    assert page.locator(".introduced").count() == 0
    assert places(page) == before
    page.reload()
    page.wait_for_selector(".answer .label")
    page.wait_for_timeout(500)
    assert box.is_hidden()


@pytest.mark.parametrize("size", SIZES)
def test_the_introduction_is_on_explore_alone(visit, size):
    page = visit(*size)
    box = page.locator("#introduction section")
    box.wait_for()
    open_tab(page, "Reader study")
    box.wait_for(state="hidden")
    open_tab(page, "Explore")
    box.wait_for()


@pytest.mark.parametrize("size", SIZES)
def test_a_term_is_explained_on_hover_on_focus_and_on_tap(visit, size):
    page = visit(*size)
    term = page.locator("#faithfulness .term").first
    described = page.locator(f"#{term.get_attribute('aria-describedby')}")
    meaning = described.text_content()[:30]
    term.hover()
    tip_says(page, meaning)
    page.mouse.move(1, 1)
    tip_is_closed(page)
    term.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    tip_says(page, meaning)
    page.keyboard.press("Escape")
    tip_is_closed(page)
    term.dispatch_event("click")
    tip_says(page, meaning)
    box = page.locator(".tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size[0]


def test_a_label_that_is_a_term_is_explained_too(visit):
    page = visit()
    page.locator("#methods label").filter(has_text="Relevance").hover()
    tip_says(page, "Relevance")
    page.locator("#tta label").hover()
    tip_says(page, "flipped and rotated copies")
    page.get_by_label("Relevance ✓").focus()
    page.keyboard.press("Shift+Tab")
    tip_says(page, "Gradient rollout")
    assert (
        page.evaluate("document.activeElement.getAttribute('aria-describedby')")
        == "glossary-gradient-rollout"
    )


def test_all_maps_are_displayed_with_their_faithfulness_and_open(visit):
    page = visit()
    page.get_by_role("button", name="All maps").click()
    tiles = page.locator("#all-maps button.tile")
    tiles.nth(9).wait_for()
    for text in tiles.all_inner_texts():
        assert re.search(r"[✓✗] .*[+-]\d\.\d\d|not measured", text)
    tiles.filter(has_text="HiResCAM").click()
    page.wait_for_function("document.querySelector('#heatmap .map').alt.startsWith('HiResCAM')")
    page.get_by_role("button", name="All maps").click()
    tiles.first.wait_for(state="detached")


def test_the_maps_that_a_cnn_cannot_give_say_why(visit):
    page = visit(query="model=cnn")
    greyed = page.locator("#unavailable .term").filter(has_text="Rollout").first
    greyed.hover()
    tip_says(page, "This model has no attention: it is a CNN.")


def test_the_picture_alone_is_displayed_while_the_button_is_held(visit):
    page = visit()
    button = page.get_by_role("button", name="Hold to see the picture alone")
    bare = page.locator("#heatmap .bare")
    box = button.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    bare.wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('#heatmap .map')).opacity") == "0"
    page.mouse.move(1, 1)
    page.mouse.up()
    bare.wait_for(state="detached")
    button.focus()
    page.keyboard.down("Space")
    bare.wait_for()
    page.keyboard.up("Space")
    bare.wait_for(state="detached")


def test_there_is_no_gap_below_the_overlay_on_a_phone(visit):
    page = visit(390, 844)
    overlay, buttons = (
        page.locator(part).first.bounding_box() for part in ("#heatmap .map", "#methods label")
    )
    assert 0 <= buttons["y"] - (overlay["y"] + overlay["height"]) <= 16


def test_the_copied_link_opens_the_same_view(visit, says):
    page = visit(query=LINK)
    says(page, "Test image 2")
    page.wait_for_function("document.querySelector('#heatmap .map').alt.startsWith('Rollout')")
    assert page.get_by_label("Model", exact=True).input_value().startswith("ViT from scratch")
    page.locator("#copy-link").click()
    page.wait_for_function("link => location.search === '?' + link", arg=LINK)  # it was ?__theme=light& ...
    page.wait_for_function("/Link copied|address bar/.test(document.querySelector('#copy-link').innerText)")


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["Compare", "Test set", "Data", "Bulk", "About"])
def test_a_link_opens_a_tab(visit, tab):
    page = visit(query=f"dataset=breastmnist&tab={tab.lower().replace(' ', '-')}", ready="#headline b")
    page.locator("[role=tab][aria-selected=true]").filter(has_text=tab).first.wait_for()
    if tab == "About":
        page.wait_for_function("document.querySelector('#model-card').innerText.includes('BreastMNIST')")


@pytest.mark.parametrize("query", ["dataset=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "index=-1", "tab=x"])
def test_a_wrong_link_is_one_sentence_and_the_default_view(visit, query):
    page = visit(query=query)
    page.wait_for_selector(".toast-body")
    assert "so the default view is shown" in page.inner_text(".toast-body")
    page.wait_for_selector(".answer .label")
    assert page.get_by_label("Dataset").input_value() == "BloodMNIST"


def test_the_arrow_keys_walk_through_the_examples(visit, says):
    page = visit()
    buttons = page.locator("#examples button")
    buttons.first.focus()
    origins = [image.get_attribute("alt") for image in page.locator("#examples img").all()]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    says(page, origins[3][:1].upper() + origins[3][1:])
    page.keyboard.press("ArrowLeft")
    says(page, origins[2][:1].upper() + origins[2][1:])
    assert buttons.nth(2).evaluate("button => button === document.activeElement")


def test_the_plot_of_bulk_is_called_an_example_before_a_run(visit):
    page = visit()
    open_tab(page, "Bulk")
    page.get_by_text("Predicted classes by probability (example)").wait_for()
