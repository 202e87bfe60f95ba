"""A real Chromium, and a visit to the app that watches over the console and the network."""

import shutil

import pytest

from ..conftest import running_app

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.server)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium is installed"))


@pytest.fixture(scope="session")
def browser():
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture(scope="module")
def address(synthetic_root, tmp_path_factory):
    """An app over the shipped checkpoints, with synthetic archives in place of the data."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app(log=log, data_root=synthetic_root) as running:
        yield running
        assert "Traceback" not in log.read_text()


@pytest.fixture
def visit(browser, address):
    """Open the app in a window; in the end, nothing was fetched from outside and no error was logged."""
    errors, pages = [], []

    def go(width=1366, height=768, theme="light", query="", ready=".answer .label"):
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: _check_address(request.url, errors))
        page.goto(f"{address}/?__theme={theme}&{query}", wait_until="domcontentloaded")
        page.wait_for_selector(ready, timeout=60_000)
        return page

    yield go
    for page in pages:
        page.close()
    assert errors == []


def _check_address(url, errors):
    if not url.startswith(("http://127.0.0.1", "data:", "blob:")):
        errors.append(f"request to {url}")


@pytest.fixture
def says():
    """Wait until the answer holds these words."""
    script = "words => document.querySelector('#answer').innerText.includes(words)"
    return lambda page, words: page.wait_for_function(script, arg=words)


def serious_violations(page):
    """(rule, elements) of what axe finds on a page and calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    violations = axe.Axe().run(page).response["violations"]
    return [
        (violation["id"], node["target"])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def open_tab(page, name, within="body"):
    """Click a tab, or on a narrow window its entry in the menu of the other tabs."""
    bar = page.locator(f"{within} .tab-wrapper").first
    bar.wait_for()
    tab = bar.get_by_role("tab", name=name)
    if tab.count() == 0:
        bar.get_by_role("button", name="More tabs").click()
        tab = bar.locator(".overflow-dropdown").get_by_role("button", name=name)
    tab.click()
