"""A reader study in a real Chromium: by keyboard and by touch, with a reload in the middle, and its files."""

import pytest

from medvit.reader_study import read_csv

from ..conftest import run_command, running_app
from ..reader_study.archive import write_archive
from .conftest import open_tab, serious_violations


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """An app with the images of BreastMNIST alone."""
    log, root = tmp_path_factory.mktemp("log") / "app.log", tmp_path_factory.mktemp("data")
    write_archive(root)
    with running_app(log=log, data_root=root) as running:
        yield running
        assert "Traceback" not in log.read_text()


def begin(page, reader, dataset="BreastMNIST", cases="10"):
    page.get_by_label("Dataset", exact=True).click()
    page.get_by_role("option", name=dataset).click()
    open_tab(page, "Reader study")
    page.wait_for_function("t => document.querySelector('#reader-about')?.innerText.includes(t)", arg=dataset)
    page.get_by_label("Reader, for the CSV").fill(reader)
    page.locator("#reader-setup").get_by_text(cases, exact=True).click()
    page.click("#reader-start")
    page.wait_for_selector(".screen")


def place(page):
    return page.locator(".screen").get_attribute("data-key")


def after(page, key):
    """Wait for the screen after this one, and until it takes Enter."""
    page.wait_for_function(
        "key => document.querySelector('#reader-summary .tiles') || "
        "document.querySelector('.screen')?.dataset.key !== key",
        arg=key,
    )
    page.wait_for_timeout(500)


def answer_by_key(page, digit):
    for keys in ((digit, "ArrowRight", "ArrowRight", "Enter"), ("Enter",)):
        key = place(page)
        for name in keys:
            page.keyboard.press(name)
        after(page, key)


def save(page, button, path):
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    download.value.save_as(path)
    return download.value.suggested_filename


def test_two_readers_read_the_same_study(visit, tmp_path):
    page = visit()
    begin(page, "anna")
    page.wait_for_timeout(500)
    answer_by_key(page, "1")
    page.keyboard.press("2")
    page.keyboard.press("Backspace")
    assert page.locator(".commit").is_disabled()
    key = place(page)
    page.evaluate("console.error = () => {}")  # the page that is left complains of its lost connection
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".screen", timeout=60_000)
    assert place(page) == key  # the page goes on where the reader stopped
    page.wait_for_function(
        "() => [...document.querySelectorAll('#pickers input')].some(e => e.value === 'BreastMNIST')"
    )
    assert page.locator("#introduction section").is_hidden()
    page.wait_for_timeout(1500)
    for number in range(9):
        answer_by_key(page, str(1 + number % 2))
    page.wait_for_selector("#reader-summary .tiles")
    paths = [tmp_path / "anna.csv", tmp_path / "ben.csv"]
    assert save(page, "Save the answers", paths[0]).endswith("-anna.csv")
    assert save(page, "Save study.json", tmp_path / "study.json") == "study.json"

    phone = visit(390, 844, "dark")
    open_tab(phone, "Reader study")
    phone.set_input_files("#reader-setup input[type=file]", tmp_path / "study.json")
    phone.wait_for_selector("text=Start begins this study")
    phone.get_by_label("Reader, for the CSV").fill("ben")
    phone.click("#reader-start")
    phone.wait_for_selector(".screen")
    for _ in range(10):
        phone.wait_for_timeout(500)
        key = place(phone)
        phone.click("[data-class='1']")
        phone.locator(".slider input").focus()
        phone.keyboard.press("ArrowRight")
        phone.click(".commit")
        after(phone, key)
        key = place(phone)
        phone.click(".commit")
        after(phone, key)
    phone.wait_for_selector("#reader-summary .tiles")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    save(phone, "Save the answers", paths[1])

    anna, ben = (read_csv(path.read_text()) for path in paths)
    assert [(row.index, row.condition) for row in anna] == [(row.index, row.condition) for row in ben]
    assert {row.first_answer for row in ben} == {"normal, benign"}
    assert all(0 < row.seconds_first < 60 for row in (*anna, *ben))
    printed = run_command("reader-study", *paths).stdout
    assert "for 2 readers on" in printed


@pytest.mark.slow
def test_practice_without_data_offers_the_download(visit):
    page = visit()
    begin(page, "anna", "BloodMNIST")
    assert "Practice." in page.inner_text(".screen")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Download the images").click()
    page.get_by_role("button", name="Download", exact=True).wait_for()


@pytest.mark.slow
def test_a_discarded_study_does_not_come_back(visit):
    page = visit()
    begin(page, "anna")
    page.wait_for_timeout(1500)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Discard").click()
    page.wait_for_selector("#reader-setup")
    page.wait_for_timeout(500)
    assert page.evaluate("localStorage.getItem('medvit-reader-clock')") is None
    page.evaluate("console.error = () => {}")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".answer .label", timeout=60_000)
    open_tab(page, "Reader study")
    page.wait_for_selector("#reader-setup")
    assert page.locator(".screen").count() == 0


@pytest.mark.slow
def test_another_tab_of_the_browser_displays_the_newest_step(visit):
    page = visit()
    page.evaluate("console.error = () => {}")
    with page.expect_popup() as opened:
        page.evaluate("open(location.href)")
    other = opened.value
    other.wait_for_selector(".answer .label", timeout=60_000)
    open_tab(other, "Reader study")
    other.wait_for_selector("#reader-setup")
    begin(page, "anna")
    other.wait_for_selector(".screen", timeout=60_000)
    for _ in range(2):
        page.wait_for_timeout(500)
        answer_by_key(page, "1")
        key = place(page)
        other.wait_for_function("key => document.querySelector('.screen')?.dataset.key === key", arg=key)
        page.wait_for_timeout(1500)
        assert place(page) == key  # the page that is ahead is not loaded again
    other.close()


@pytest.mark.slow
def test_a_pause_hides_the_image_and_stops_the_clock(visit):
    page = visit()
    begin(page, "anna")
    clock = "JSON.parse(localStorage.getItem('medvit-reader-clock')).seconds"
    page.wait_for_timeout(1500)
    page.keyboard.press("p")
    assert page.locator(".screen figure img").first.is_hidden()
    page.wait_for_timeout(1200)
    before = page.evaluate(clock)
    page.wait_for_timeout(2500)
    assert page.evaluate(clock) == before
    page.get_by_role("button", name="Continue").first.click()
    assert page.locator(".screen figure img").first.is_visible()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_no_serious_violation_in_any_state(visit, theme):
    page = visit(theme=theme)
    violations = {}

    def check(state):
        page.wait_for_timeout(500)
        violations[state] = serious_violations(page)

    open_tab(page, "Reader study")
    page.wait_for_selector("#reader-about .reader-steps")
    check("practice")
    begin(page, "anna")
    check("case")
    page.keyboard.press("p")
    check("pause")
    page.keyboard.press("p")
    advice = {"No advice", "The model says", "prediction set", "The heatmap"}
    for number in range(10):
        page.wait_for_timeout(500)
        key = place(page)
        for name in ("1" if number % 2 else "2", "ArrowRight", "Enter"):
            page.keyboard.press(name)
        after(page, key)
        words = page.inner_text(".panel .advice")
        if new := {kind for kind in advice if kind in words}:
            advice -= new
            check(words)
        key = place(page)
        page.keyboard.press("Enter")
        after(page, key)
    page.get_by_text("Every case with its true class").click()
    check("result")
    assert advice == set()
    assert {state: nodes for state, nodes in violations.items() if nodes} == {}
