"""The Bulk tab: a run over many files, as the interface calls it."""

import shutil
import zipfile

import gradio as gr
import pytest
from PIL import Image

from medvit import limits
from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import bulk as inference_bulk
from medvit.inference.registry import Registry
from medvit.ui.state import Selection
from medvit.ui.tabs import bulk

FILES = 70  # more than one batch


def build(registry):
    with gr.Blocks():
        return bulk.build(registry, gr.State())


def test_the_example_rows_have_the_classes_of_the_first_dataset(registry, tmp_path):
    shutil.copytree(DEFAULT_ROOT / "breastmnist" / "cnn", tmp_path / "breastmnist" / "cnn")
    tab = build(Registry.open(tmp_path, tmp_path))
    assert [row[1] for row in tab.table.value["data"]] == ["malignant", "normal, benign", "normal, benign"]


@pytest.fixture(scope="module")
def tab(registry):
    return build(registry)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """A zip of synthetic pictures and a file that is none."""
    path = tmp_path_factory.mktemp("zip") / "many.zip"
    picture = path.with_name("picture.png")
    Image.fromarray(synthetic.draw("breastmnist", 0)).save(picture)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(FILES):
            archive.write(picture, f"{i:03}.png")
        archive.writestr("broken.png", b"x")
    return str(path)


def inputs(tab, *paths):
    return {tab.selection: Selection("breastmnist", "cnn", None), tab.files: list(paths)}


def test_a_zip_becomes_a_table_with_progress_on_the_way(tab, zipped):
    steps = list(tab.run(inputs(tab, zipped)))
    assert all(set(step) <= tab.outputs for step in steps)
    assert f"0 of {FILES + 1} files" in steps[0][tab.status]
    last = steps[-1]
    assert last[tab.running] is None
    assert f"{FILES + 1} files in" in last[tab.status]
    assert "1 could not be read" in last[tab.status]
    assert len(last[tab.rows]) == len(last[tab.table]) == FILES + 1
    assert last[tab.table][-1][0] == "broken.png"
    assert last[tab.table][-1][-1]
    assert sum(sum(bar.x) for bar in last[tab.plot].data) == FILES
    assert "(example)" in tab.plot_title.value
    assert "(example)" not in last[tab.plot_title]
    name, text = tab.to_csv({tab.rows: last[tab.rows]})
    assert name == "results.csv"
    assert len(text.splitlines()) == FILES + 2


def test_stop_keeps_the_results_so_far(tab, zipped, monkeypatch):
    monkeypatch.setattr(bulk, "PROGRESS_SECONDS", 0)
    steps = tab.run(inputs(tab, zipped))
    stopped, done = next(steps)[tab.running], f"{inference_bulk.BATCH_SIZE} of {FILES + 1} files"
    for step in steps:
        last = step
        if done in step[tab.status]:
            stopped.set()
    assert f"stopped after {done}" in last[tab.status]
    assert len(last[tab.rows]) == inference_bulk.BATCH_SIZE


@pytest.mark.parametrize(
    ("limit", "seconds", "sentence"),
    [
        ("BULK_SECONDS", -1, "A job may take -1 s here"),
        ("BULK_CPU_SECONDS", 0, "A job may take 0 s of CPU time here"),
    ],
)
def test_a_job_that_takes_too_long_ends_with_the_limit_and_the_results_so_far(
    tab, zipped, monkeypatch, limit, seconds, sentence
):
    monkeypatch.setattr(limits, limit, seconds)
    last = list(tab.run(inputs(tab, zipped)))[-1]
    assert "stopped after" in last[tab.status]
    assert sentence in last[tab.status]
    assert len(last[tab.rows]) < FILES + 1


def test_the_limits_are_stated():
    assert "15 minutes, and 10 minutes of CPU time" in bulk.LIMITS


@pytest.mark.parametrize("values", ["no files", "no selection"])
def test_a_user_error_is_one_sentence(tab, zipped, values):
    missing = {"no files": {tab.files: []}, "no selection": {tab.selection: None}}[values]
    with pytest.raises(gr.Error, match="There is no file|expired"):
        next(tab.run(inputs(tab, zipped) | missing))


def test_a_folder_on_the_server_is_not_listed(tab, zipped, tmp_path):
    with pytest.raises(gr.Error, match="Drop the pictures here again"):
        next(tab.run(inputs(tab, zipped, str(tmp_path))))


def test_a_checkpoint_deleted_meanwhile_is_one_sentence(zipped, tmp_path):
    shutil.copytree(DEFAULT_ROOT / "breastmnist" / "cnn", tmp_path / "breastmnist" / "cnn")
    tab = build(Registry.open(tmp_path, "/nonexistent"))
    shutil.rmtree(tmp_path / "breastmnist")
    with pytest.raises(gr.Error, match="cannot be loaded"):
        list(tab.run(inputs(tab, zipped)))


def test_nothing_is_saved_before_a_run(tab):
    with pytest.raises(MedvitError, match="no results"):
        tab.to_csv({tab.rows: []})
