"""No cell of the CSV is run by a spreadsheet."""

import re

import pytest

from medvit.inference import bulk_csv


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@A1", "\tx", "\rx", "＝1+1", "＋1", "－1", "＠A1", " =1", "\n=1"]
)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert bulk_csv.csv_cell(text).lstrip()[0] == "'"


@pytest.mark.parametrize("text", ["a;=1+1", "a; ＝cmd", "a\t-1"])
def test_formulas_after_a_separator_of_other_languages_get_one_too(text):
    assert not re.search(r"[;\t]\s*[=＝-]", bulk_csv.csv_cell(text))


def test_other_cells_stay_as_they_are():
    values = ("a=b", None, 0.5, "normal, benign; malignant", "a-b.png")
    assert [bulk_csv.csv_cell(value) for value in values] == ["a=b", "", "0.5000", *values[3:]]
