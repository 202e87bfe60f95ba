"""The confusion matrix as a table of buttons."""

import re

import numpy as np

from medvit.ui.components.confusion_matrix import images, render, render_difference

MATRIX = np.array([[5, 1], [0, 4]])


def test_each_cell_is_a_button_that_describes_its_pair_and_fractions():
    html = render(MATRIX, ("a <b>", "c"))
    assert "<b>" not in html
    assert html.count("<button") == 4
    assert (
        "true class a &lt;b&gt;, predicted class c: 1 image, 16.7% of the true class, 20.0% of the predicted "
        "class" in html
    )
    assert len(re.findall("tabindex=['\"]0['\"] data-row|tabindex=['\"]0['\"]\\s+data-row", html)) == 1
    assert html.count("aria-disabled") == 1  # the cell without images


def test_the_most_frequent_errors_are_a_table_of_text():
    text = render(MATRIX, ("a", "c")).split("<details>")[1]
    assert re.findall("<td>(.*?)</td>", text) == ["a", "c", "1", "16.7%"]


def test_of_very_many_classes_only_the_most_frequent_errors_are_displayed():
    matrix = np.eye(300, dtype=int)
    matrix[7, 299] = 3
    html = render(matrix, tuple(f"class {i}" for i in range(300)))
    assert ("<button" in html, len(html) < 10_000) == (False, True)
    assert "The matrix of 300 classes is too large to display." in html
    assert re.findall("<td>(.*?)</td>", html) == ["class 7", "class 299", "3", "75.0%"]


def test_a_difference_is_signed():
    html = render_difference(MATRIX, MATRIX.T, ("a", "c"), ("first", "second"))
    counts = re.findall("class=['\"]counts['\"]>(.*?)<", html)
    assert counts == ["0", "+1", "\N{MINUS SIGN}1", "0"]


def test_a_number_of_images_is_put_in_words():
    assert [images(count) for count in (0, 1, 1234)] == ["0 images", "1 image", "1,234 images"]
