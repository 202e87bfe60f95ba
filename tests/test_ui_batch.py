"""The Batch tab's run, as the interface calls it."""

import shutil
import zipfile

import gradio as gr
import pytest
from PIL import Image

from medvit.data import synthetic
from medvit.inference import bulk
from medvit.inference.registry import Registry
from medvit.ui.app import build


@pytest.fixture(scope="module")
def run(trained):
    """The function behind "Classify all"."""
    return run_of(trained)


def run_of(checkpoints):
    demo = build(Registry.open(checkpoints, "/nonexistent"))
    return next(
        one.fn for one in demo.fns.values() if one.fn and one.fn.__qualname__.endswith("build.<locals>.run")
    )


@pytest.fixture
def zipped(tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(200):
            picture = tmp_path / "one.png"
            Image.fromarray(synthetic.draw("breastmnist", i)).save(picture)
            archive.write(picture, f"{i:03}.png")
        archive.writestr("broken.png", b"x")
    return str(path)


def test_a_zip_becomes_a_table_with_progress_on_the_way(run, zipped):
    steps = list(run("breastmnist", "spt_lsa", [zipped]))
    assert "0 of 201 files" in steps[0][2]
    rows, event, status, *_, figure, table = steps[-1]
    assert event is None
    assert "201 files in" in status
    assert "1 could not be read" in status
    assert len(rows) == len(table) == 201
    assert table[-1][0] == "broken.png"
    assert "not an image" in table[-1][-1]
    assert sum(sum(bar.x) for bar in figure.data) == 200


def test_stop_keeps_what_is_done(run, zipped, monkeypatch):
    monkeypatch.setattr("medvit.ui.batch.SAY_EVERY", 0)
    steps = run("breastmnist", "spt_lsa", [zipped])
    next(steps)[1].set()
    last = list(steps)[-1]
    assert f"stopped after {bulk.BATCH_SIZE} of 201 files" in last[2]
    assert len(last[0]) == bulk.BATCH_SIZE


def test_a_mistake_is_one_sentence(run):
    with pytest.raises(gr.Error, match="There is no file"):
        next(run("breastmnist", "spt_lsa", []))


def test_a_folder_on_the_server_is_not_listed(run, zipped, tmp_path):
    with pytest.raises(gr.Error, match="Drop the pictures here again"):
        next(run("breastmnist", "spt_lsa", [zipped, str(tmp_path)]))


def test_a_checkpoint_deleted_meanwhile_is_one_sentence(trained, zipped, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(trained, checkpoints)
    run = run_of(checkpoints)
    shutil.rmtree(checkpoints / "breastmnist")
    with pytest.raises(gr.Error, match="cannot be loaded"):
        list(run("breastmnist", "spt_lsa", [zipped]))
