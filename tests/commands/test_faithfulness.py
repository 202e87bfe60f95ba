import csv
import json
import shutil

import pytest

from medvit.checkpoint import DEFAULT_ROOT
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

    changed = {name: metrics | {"road": 9.0} for name, metrics in section["methods"].items()}
    card = json.loads((folder / "card.json").read_text()) | {
        "explanations": {"images": 2, "methods": changed}
    }
    (folder / "card.json").write_text(json.dumps(card))
    done = run_command(
        "faithfulness", folder, "--methods", "rollout", "--data-root", synthetic_root, "--out", out
    )
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "card.json").read_text())["explanations"]
    assert again["images"] == 2
    assert again["methods"]["rollout"] == section["methods"]["rollout"]
    assert again["methods"]["attention"]["road"] == 9  # not measured again


@pytest.mark.slow
def test_a_map_that_the_model_does_not_have_is_refused(tmp_path):
    folder = DEFAULT_ROOT / "breastmnist" / "cnn"
    done = run_command("faithfulness", folder, "--methods", "rollout", "--out", tmp_path / "out.csv")
    assert "medvit faithfulness: Rollout needs attention over all patches." in done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_number_of_images_below_one_is_refused():
    done = run_command("faithfulness", "--all", "--images", "-3")
    assert done.returncode == 2
    assert done.stderr.endswith("--images: it must be a whole number of at least 1, not '-3'\n")


def test_no_folder_is_refused_in_a_sentence():
    done = run_command("faithfulness")
    assert done.stderr == "medvit faithfulness: Name at least one checkpoint folder, or --all.\n"
