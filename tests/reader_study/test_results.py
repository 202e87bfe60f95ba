"""The CSV of a reader study."""

from dataclasses import replace

import pytest

from medvit.errors import MedvitError
from medvit.reader_study import COLUMNS, positive_classes, read_csv, summarize, to_csv

from . import test_summary


def rows(*args, **kwargs):
    return [replace(row, dataset="biopsies") for row in test_summary.rows(*args, **kwargs)]


def test_the_columns_are_those_that_are_documented():
    assert ", ".join(COLUMNS) == (
        "reader, study, case, dataset, index, truth, condition, first_answer, first_confidence, advice, "
        "advice_probability, final_answer, final_confidence, seconds_first, seconds_final, model_correct"
    )


def test_rows_are_written_and_read():
    assert read_csv(to_csv(rows())) == rows()


def test_a_name_that_looks_like_a_formula_is_harmless_and_read_back():
    for reader in ("=1+1", "＝1+1", "@SUM(1)"):
        made = rows({("a", "a", "a", "a"): 1}, reader=reader)
        assert f"'{reader}" in to_csv(made)
        assert read_csv(to_csv(made)) == made
    assert "' =1+1" in to_csv(rows({("a", "a", "a", "a"): 1}, reader=" =1+1"))


@pytest.mark.parametrize("reader", ["'=1+1", "''-", "'tis", "\u0645\u06cc\u200c\u062e", 'a "b", c'])
def test_any_name_is_read_back(reader):
    made = rows({("a", "a", "a", "a"): 1}, reader=reader)
    assert read_csv(to_csv(made)) == made


def test_control_characters_are_not_written():
    made = rows({("a", "a", "a", "a"): 1}, reader="an\x1bna\r\n")
    assert [row.reader for row in read_csv(to_csv(made))] == ["an na"]


def test_files_of_spreadsheets_are_read():
    text = to_csv(rows())
    assert read_csv("\ufeff" + text.replace(",", ";").replace("\n", "\r\n")) == rows()
    assert read_csv(text.replace(",a,", ", a ,")) == rows()


def test_the_line_of_an_error_counts_blank_lines():
    header, first, *rest = to_csv(rows()).splitlines()
    text = "\n".join([header, "", "", first, first.replace("answer", "telepathy"), *rest])
    with pytest.raises(MedvitError, match="line 5: there is no condition"):
        read_csv(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(("0.8000", "1.8"), "line 2: first_confidence"), (("0.8000", "nan"), "line 2: first_confidence"),
     (("0.8000", "sure"), "line 2: first_confidence"), (("4.0000", "-1"), "line 2: seconds_first"),
     ((",answer,", ",telepathy,"), "condition 'telepathy'"), (("study,0", "study,-3"), "line 2: case"),
     (("2.0000,1", "2.0000,0"), "does not fit"), (("2.0000,1", "2.0000,yes"), "line 2: model_correct"),
     ((",2.0000,1", ""), "is missing"),
     (("a,0.8000", ",0.8000"), "first_answer is empty"),
     ((",2.0000,1", ",2.0000,1,1"), "more cells"),
     (("anna", "\x1b[2Janna"), "line 2: reader has control characters"),
     (("biopsies", "breastmnist"), "line 2: breastmnist has no class 'a'"),
     (("reader,study", "reader,reader,study"), "'reader' twice"),
     (("first_answer", "answer"), "no column 'first_answer'")],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_its_line(change, reason):
    text = to_csv(rows({("a", "a", "a", "a"): 1})).replace(*change)
    with pytest.raises(MedvitError, match=reason):
        read_csv(text)


@pytest.mark.parametrize("text", ["", "\n", ",".join(COLUMNS) + "\n", "a\x00b", "%PDF-1.4\n"])
def test_another_file_is_refused(text):
    with pytest.raises(MedvitError, match="The file"):
        read_csv(text)


def test_the_positive_class_of_ones_own_two_classes_is_given():
    own = rows()
    assert positive_classes(own) == {}
    assert "macro_recall" in summarize(own)["pooled"]
    sensitivity = summarize(own, positive_classes(own, "b"))["pooled"]["sensitivity"]["reader"]
    assert (sensitivity["count"], sensitivity["n"]) == (6, 7)
    for three in (own, [*own, replace(own[0], final_answer="c")], test_summary.rows()):
        with pytest.raises(MedvitError, match="with two classes"):
            positive_classes(three, "d" if three is own else "b")
