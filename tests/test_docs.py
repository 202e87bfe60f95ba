"""The documents: generated tables are up to date, links lead somewhere, metadata is what tools expect."""

import csv
import re

import pytest

from medvit.commands import faithfulness
from medvit.commands.tables import fill
from medvit.errors import MedvitError
from medvit.evaluation import report, robustness
from medvit.explain import METHODS
from medvit.reliability import measure

from .conftest import REPOSITORY, SHIPPED, run_command

RESULTS = REPOSITORY / "results"
DOCUMENTS = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), RESULTS / "README.md"]
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_tables_equal_those_generated_from_the_cards(path):
    """Otherwise: medvit tables FILE."""
    text = path.read_text()
    assert fill(text, RESULTS) == text


def test_the_readme_has_the_generated_tables():
    assert re.findall(r"<!-- (\w+) -->\n", README) == ["results", "end", "maps", "end"]


def test_an_unknown_table_is_refused_in_a_sentence():
    with pytest.raises(MedvitError, match="There is no table 'speed'"):
        fill("<!-- speed -->\n<!-- end -->", RESULTS)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    done = run_command("tables", tmp_path / "no.md")
    problem = f"{tmp_path / 'no.md'} cannot be read (No such file or directory). Name a Markdown file."
    assert (done.returncode, done.stderr) == (1, f"medvit tables: {problem}\n")
    with pytest.raises(MedvitError, match="Name the folder of the results with --results"):
        fill("<!-- ablation -->\n<!-- end -->", tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_lead_to_files(path):
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", path.read_text()):
        assert link.startswith("http") or (path.parent / link).exists(), link


def test_each_map_has_an_example():
    pictures = {path.stem for path in (REPOSITORY / "docs" / "maps").glob("*.png")}
    assert pictures == {"image", *METHODS}


def test_the_readme_is_short_and_has_the_command_that_ci_runs():
    assert README.count("\n") <= 150
    assert "\npip install -r requirements-dev.txt && pytest\n" in README


def test_the_readme_opens_with_what_a_space_needs():
    front = re.match(r"---\n(.*?)\n---\n", README, re.DOTALL)[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert (fields["sdk"], fields["app_file"], fields["python_version"]) == ("gradio", "app.py", '"3.12"')
    assert (REPOSITORY / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    requirements = (REPOSITORY / "requirements.txt").read_text()
    low, high = re.search(r"gradio>=([\d.]+),<([\d.]+)", requirements).groups()

    def version(text):
        return [int(part) for part in text.split(".")]

    assert version(low) <= version(fields["sdk_version"]) < version(high)


def test_the_csv_files_equal_the_cards(tmp_path):
    """Otherwise: medvit evaluate --all --robustness, and medvit faithfulness --all."""
    for item in SHIPPED:
        card = item.card
        report.update_csv(tmp_path / "metrics.csv", [report.csv_row(item, card["test"])])
        report.update_csv(tmp_path / "trust.csv", [measure.csv_row(item, card["trust"])], measure.COLUMNS)
        report.update_csv(
            tmp_path / "robustness.csv",
            robustness.csv_rows(item, card["robustness"]) if "robustness" in card else [],
            robustness.COLUMNS,
            ("subset", "model", "corruption"),
        )
        report.update_csv(
            tmp_path / "faithfulness.csv",
            faithfulness.rows(item, card["explanations"]),
            faithfulness.COLUMNS,
            faithfulness.KEYS,
        )
    for path in tmp_path.iterdir():
        assert path.read_text() == (RESULTS / path.name).read_text(), path.name


def test_an_experiment_is_one_row():
    with (RESULTS / "experiments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 59
    assert list(rows[0]) == [
        "date", "dataset", "model", "change", "validation_before", "validation_after", "kept", "why",
    ]  # fmt: skip
    assert {row["kept"] for row in rows} == {"yes", "no", "as a step to the next", "as an option"}
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
        assert all(row[key] for key in row if key != "why")
