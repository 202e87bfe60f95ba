"""The card of someone else's checkpoint cannot make a visitor's browser request anything."""

import json
import shutil

import pytest

from tests.browser.conftest import open_tab
from tests.conftest import running_app

PICTURES = (
    '<img src="http://localhost:9/a.png"> ![](http://localhost:9/b.png) '
    "<style>body{background:url(http://localhost:9/c.png)}</style>"
)


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory):
    """An app over a checkpoint whose card names remote pictures wherever it may hold text."""
    root = tmp_path_factory.mktemp("card")
    shutil.copytree(trained, root, dirs_exist_ok=True)
    path = root / "breastmnist" / "spt_lsa" / "card.json"
    card = json.loads(path.read_text())
    card |= dict.fromkeys(("hardware", "selection", "data_md5", "strategy", "backbone"), PICTURES)
    card |= {"versions": {PICTURES: PICTURES}, "interpolation": PICTURES}
    (metrics, *_) = card["test"]["per_class"].values()
    card["test"]["per_class"] = {PICTURES: metrics}
    path.write_text(json.dumps(card))
    damaged = shutil.copytree(path.parent, root / "breastmnist" / "damaged")
    (damaged / "card.json").write_text(json.dumps(card | {"subset": PICTURES}))
    with running_app("--checkpoints", root, log=root / "app.log") as running:
        yield running


def test_remote_pictures_in_a_card_are_text(visit):
    page = visit()  # fails at its end if anything was requested from outside
    for tab in ("Test set", "About"):
        open_tab(page, tab)
        page.wait_for_timeout(1500)
    about = page.inner_text("body")
    assert "http://localhost:9/a.png" in about
    assert "There is no subset" in about
