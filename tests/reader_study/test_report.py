"""The tables of a summary, and the command that prints them."""

import argparse

import pytest

from medvit.commands import reader_study as command
from medvit.errors import MedvitError
from medvit.reader_study import report, summarize, to_csv

from .test_results import rows


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(list(map(str, arguments))))


def test_tables_are_rectangular_and_the_page_is_escaped():
    summary = summarize(rows(reader="<b>anna") + rows(reader="ben"))
    for section in report.sections(summary):
        assert {len(row) for row in section.rows} == {len(section.columns)}
    page = report.to_html(summary)
    assert "&lt;b&gt;anna" in page
    assert "<b>anna" not in page
    assert summary["conclusion"] in report.to_text(summary)


def test_the_command_prints_the_tables_and_writes_a_page(tmp_path, capsys):
    paths = [tmp_path / "anna.csv", tmp_path / "ben.csv"]
    for path in paths:
        path.write_text(to_csv(rows(reader=path.stem)))
    run(*paths, "--positive", "b", "--html", tmp_path / "pages" / "report.html")
    printed = capsys.readouterr().out
    assert "75% (" in printed  # RAIR, and the accuracy with the model
    assert "specificity" in printed  # there are two classes
    assert "mean" in printed
    assert "<h2>Readers</h2>" in (tmp_path / "pages" / "report.html").read_text()


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "anna.csv"
    path.write_text(to_csv(rows()))
    for arguments, reason in (
        ([path, path], "there twice"),
        ([tmp_path / "absent.csv"], "cannot be read"),
        ([tmp_path], "cannot be read"),
        ([path, "--html", path / "report.html"], "cannot be written"),
    ):
        with pytest.raises(MedvitError, match=reason):
            run(*arguments)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MedvitError, match="UTF-8"):
        run(path)
