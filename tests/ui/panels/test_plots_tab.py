"""Curves, tables and the embedding of the Test set tab."""

import gradio as gr
import pytest

from medvit.ui.panels import plots_tab


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        return plots_tab.build(registry, gr.State())


@pytest.mark.parametrize("title", list(plots_tab.DRAW))
def test_each_tab_draws_its_own_components(panel, title):
    update = panel.update(title, ("breastmnist", "cnn"))
    assert set(update) == set(panel.components[title])
    assert set(update) < panel.outputs


def test_a_curve_of_each_class_and_their_mean(panel):
    (figure,) = panel.update("ROC", ("bloodmnist", "cnn")).values()
    names = [trace.name for trace in figure.data if trace.name]
    assert len(names) == 9
    assert names[-1].startswith("mean")


def test_a_checkpoint_without_embedding_gives_the_command(panel, registry, tmp_path, monkeypatch):
    checkpoint = registry.checkpoint("breastmnist", "cnn")
    bare = type(checkpoint)(
        checkpoint.folder, checkpoint.card, checkpoint.preprocessing, checkpoint.test_logits,
        checkpoint.test_labels,
    )  # fmt: skip
    for directory, folder in (
        (checkpoint.folder.parents[2], "checkpoints/breastmnist/cnn"),
        (tmp_path, "breastmnist/cnn"),
    ):
        monkeypatch.chdir(directory)
        plot, missing = plots_tab.DRAW["Embedding"](bare)
        assert not plot.visible
        assert f"medvit evaluate {folder} --tsne" in missing.value
