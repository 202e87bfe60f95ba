"""A page of test images."""

import numpy as np

from medvit.ui.components.gallery import PAGE, Item, render


def test_without_pictures_the_images_are_described():
    items = [Item(3, "90.0%", "Test image 3: true class a; the model says c, 90.0%")]
    html = render("title", "note", items, None, 0, 1)
    assert "Test image 3: true class a" in html
    assert "<button" not in html
    assert "<img" not in html


def test_many_images_have_pages():
    items = [Item(i, "", "") for i in range(PAGE)]
    html = render("title", "note", items, np.zeros((PAGE, 4, 4), np.uint8), 1, 2 * PAGE + 1)
    assert "page 2 of 3" in html
    assert html.count("data-index") == PAGE
    assert "disabled" not in html


def test_an_image_without_index_cannot_be_opened():
    html = render("title", "note", [Item(None, "1", "a <b>")], np.zeros((1, 4, 4), np.uint8), 0, 1)
    assert "<button" not in html
    assert "a &lt;b&gt;" in html
