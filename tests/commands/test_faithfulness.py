import csv
import json
import shutil

import pytest

from tests.conftest import run_command


@pytest.mark.slow
def test_it_writes_the_card_and_the_table(trained, synthetic_root, tmp_path):
    folder = shutil.copytree(trained / "breastmnist" / "spt_lsa", tmp_path / "spt_lsa")
    out = tmp_path / "new" / "faithfulness.csv"
    done = run_command("faithfulness", folder, "--images", 2, "--data-root", synthetic_root, "--out", out)
    assert done.returncode == 0, done.stderr
    section = json.loads((folder / "card.json").read_text())["explanations"]
    assert section["images"] == 2
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == set(section["methods"])
    for row in rows:
        gain = section["methods"][row["method"]]["insertion_deletion_gain"]
        assert float(row["insertion_deletion_gain"]) == gain


def test_no_folder_is_refused_in_a_sentence():
    done = run_command("faithfulness")
    assert done.stderr == "medvit faithfulness: Name at least one checkpoint folder, or --all.\n"
