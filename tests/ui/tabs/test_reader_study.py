"""The Reader study tab as a whole: what the interface calls."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from medvit.checkpoint import DEFAULT_ROOT
from medvit.inference.registry import Registry
from medvit.reader_study import CONDITIONS, Session, read_csv
from medvit.ui import pickers
from medvit.ui.panels.reader_case import why_impossible
from medvit.ui.state import Selection
from medvit.ui.tabs import reader_study

from ...reader_study.archive import write_archive
from ..conftest import initial_values

CHECKPOINT = ("breastmnist", "cnn")


def build(registry):
    with gr.Blocks():
        return reader_study.build(registry, pickers.build(registry), reader_study.kept_in_browser())


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """The tab over an archive of BreastMNIST."""
    root = tmp_path_factory.mktemp("data")
    write_archive(root)
    return build(Registry.open(DEFAULT_ROOT, root))


@pytest.fixture
def tab_with_own_models(tmp_path):
    """The tab over a checkpoint without trust.npz."""
    write_archive(tmp_path)
    shutil.copytree(DEFAULT_ROOT.joinpath(*CHECKPOINT), tmp_path.joinpath("own", *CHECKPOINT))
    tmp_path.joinpath("own", *CHECKPOINT, "trust.npz").unlink()
    return build(Registry.open(tmp_path / "own", tmp_path))


@pytest.fixture(scope="module")
def tab_without_data(registry):
    return build(registry)


def selection(tab, checkpoint=CHECKPOINT):
    return Selection(*checkpoint, tab.cases.registry.examples(checkpoint[0])[0])


def settings(tab, checkpoint=CHECKPOINT, **changes):
    values = dict(
        reader="anna", count=10, balanced=False, wrong=-1.0, conditions=list(CONDITIONS), method="",
        training=False, seed=0, uploaded=None,
    ) | changes  # fmt: skip
    own = {getattr(tab.setup, name): value for name, value in values.items()}
    return own | initial_values(tab.pickers.inputs) | {tab.pickers.selection: selection(tab, checkpoint)}


def start(tab, **options):
    """The session of a new study, as the browser keeps it."""
    *_, last = tab.start(settings(tab, **options))
    assert set(last) <= tab.session_outputs | {tab.kept} | tab.setup.inputs | tab.setup.outputs | {
        tab.setup.uploaded_note, tab.setup.clear,
    }  # fmt: skip
    return json.loads(json.dumps(last[tab.kept]))


def answer(tab, kept, **changes):
    session = Session.from_dict(kept)
    event = dict(case=session.number, phase=session.phase, answer=0, confidence=0.75, seconds=2.5) | changes
    return tab.commit({tab.kept: kept}, SimpleNamespace(**event))


def finish(tab, kept):
    """Answer every case; returns the last update."""
    while True:
        update = answer(tab, kept)
        kept = json.loads(json.dumps(update[tab.kept]))
        if Session.from_dict(kept).phase == "done":
            return update


def visible(tab, update):
    return [name for name, column in tab.screens.items() if update[column].visible]


def test_the_tab_opens_on_the_set_up(tab):
    update = tab.update({tab.pickers.selection: selection(tab), tab.kept: None})
    assert set(update) <= tab.outputs
    assert visible(tab, update) == ["setup"]
    assert "BreastMNIST" in update[tab.setup.about]
    assert "156 test images" in update[tab.setup.about]
    assert not update[tab.setup.to_data].visible


def test_a_first_answer_brings_the_advice_and_a_final_one_the_next_case(tab):
    kept = start(tab, conditions=["answer"])
    update = tab.update({tab.pickers.selection: selection(tab), tab.kept: kept})
    assert visible(tab, update) == ["case"]
    assert "Case 1 of 10" in update[tab.case]
    assert "The model says" not in update[tab.case]
    update = answer(tab, kept)
    assert set(update) <= tab.session_outputs | {tab.kept}
    assert "The model says" in update[tab.case]
    assert "Case 2 of 10" in answer(tab, update[tab.kept], answer=1)[tab.case]


@pytest.mark.parametrize(
    ("condition", "words"),
    [("none", "No advice for this case"), ("set", "prediction set:"), ("heatmap", "heatmap of the model")],
)
def test_each_condition_shows_its_advice(tab, condition, words):
    update = answer(tab, start(tab, conditions=[condition]))
    assert words in update[tab.case]
    assert ("The model says" in update[tab.case]) == (condition != "none")


def test_the_truth_is_not_in_the_page_before_the_end_of_a_study(tab):
    update = answer(tab, answer(tab, start(tab))[tab.kept])
    assert "True class" not in update[tab.case]


def test_training_displays_the_truth_and_goes_on(tab):
    kept = answer(tab, answer(tab, start(tab, training=True))[tab.kept])[tab.kept]
    update = tab.update({tab.pickers.selection: selection(tab), tab.kept: kept})
    assert "True class" in update[tab.case]
    update = tab.proceed({tab.kept: kept}, SimpleNamespace(case=0, phase="truth"))
    assert "Case 2 of 10" in update[tab.case]


def test_an_answer_that_comes_twice_is_taken_once(tab):
    kept = answer(tab, start(tab))[tab.kept]
    assert answer(tab, kept, phase="first") == gr.skip()
    assert tab.commit({tab.kept: kept}, SimpleNamespace()) == gr.skip()


@pytest.mark.parametrize(
    "changes", [{"answer": 2}, {"answer": -1}, {"answer": "x"}, {"confidence": 2}, {"seconds": None},
                {"confidence": float("nan")}, {"answer": 1e400}]
)  # fmt: skip
def test_an_impossible_answer_is_refused_in_one_sentence(tab, changes):
    with pytest.raises(gr.Error, match="Reload the page"):
        answer(tab, start(tab), **changes)


def test_the_result_agrees_with_the_csv(tab):
    update = finish(tab, start(tab, wrong=0.5))
    assert visible(tab, update) == ["result"]
    kept = update[tab.kept]
    name, text = tab.result.save_csv({tab.kept: kept})
    assert name == f"reader-study-{Session.from_dict(kept).study.code}-anna.csv"
    rows = read_csv(text)
    assert sum(row.model_correct for row in rows) == 5
    advised = [row for row in rows if row.condition != "none"]
    right = sum(row.first_answer == row.truth for row in advised)
    assert f"{right} of {len(advised)} right" in update[tab.result.summary]
    assert "specificity" in update[tab.result.tables]
    cases = update[tab.result.tables].split("Every case with its true class")[1]
    assert cases.count("✓") == sum(row.first_answer == row.truth for row in rows) + sum(
        row.final_answer == row.truth for row in rows
    ) + sum(row.model_correct for row in advised)
    assert cases.count("not shown") == len(rows) - len(advised)


def test_another_reader_gets_the_same_study(tab, tmp_path):
    kept = start(tab, seed=5)
    name, text = tab.result.save_study({tab.kept: kept})
    path = tmp_path / name
    path.write_text(text)
    update = tab.setup.open_upload({tab.setup.upload: str(path)})
    assert "10 cases of BreastMNIST" in update[tab.setup.uploaded_note]
    other = start(tab, uploaded=update[tab.setup.uploaded], reader="ben")
    assert Session.from_dict(other).study == Session.from_dict(kept).study
    assert Session.from_dict(other).reader == "ben"


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b"\xff", b" " * 2**21])
def test_a_file_that_is_no_study_is_refused_in_one_sentence(tab, tmp_path, content):
    path = tmp_path / "study.json"
    path.write_bytes(content)
    with pytest.raises(gr.Error, match="not a study.json"):
        tab.setup.open_upload({tab.setup.upload: str(path)})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("model", "other", "not here"), ("dataset", "../..", "not here"), ("checkpoint", "0" * 64, "differ"),
     ("cases", [{"index": 10**6, "condition": "none"}], "does not fit")],
)  # fmt: skip
def test_a_kept_study_that_does_not_fit_leads_to_the_set_up(tab, name, value, reason):
    kept = start(tab)
    kept["study"][name] = value
    update = tab.update({tab.pickers.selection: selection(tab), tab.kept: kept})
    assert visible(tab, update) == ["setup"]
    assert reason in update[tab.setup.status]
    with pytest.raises(gr.Error):
        answer(tab, kept)


def test_a_heatmap_that_does_not_exist_is_refused(tab):
    kept = start(tab, conditions=["heatmap"])
    kept["study"]["method"] = "nonsense"
    with pytest.raises(gr.Error, match="no kind of heatmap"):
        answer(tab, kept)


def test_an_impossible_study_is_refused_in_one_sentence(tab):
    with pytest.raises(gr.Error, match="too few"):
        start(tab, count=100, wrong=0.5)
    with pytest.raises(gr.Error, match="conditions"):
        start(tab, conditions=[])


def test_a_model_without_prediction_sets_has_no_such_condition(tab_with_own_models):
    tab = tab_with_own_models
    with pytest.raises(gr.Error, match="no prediction sets. Leave out the condition"):
        start(tab)
    kept = start(tab, conditions=["answer"])
    assert "not calibrated" in answer(tab, kept)[tab.case]


def test_without_data_the_study_is_practice_on_drawings(tab_without_data):
    tab = tab_without_data
    update = tab.update({tab.pickers.selection: selection(tab), tab.kept: None})
    assert update[tab.setup.to_data].visible
    assert "synthetic examples" in update[tab.setup.about]
    kept = start(tab)
    assert Session.from_dict(kept).practice
    update = finish(tab, kept)
    assert "Practice." in update[tab.result.summary]
    assert not update[tab.result.csv].visible
    with pytest.raises(gr.Error, match="no answers"):
        reader_study.show_user_errors(tab.result.save_csv)({tab.kept: update[tab.kept]})


def test_a_study_of_another_model_selects_it(tab):
    uploaded = start(tab)
    *_, update = tab.start(
        settings(tab, uploaded=uploaded)
        | {tab.pickers.selection: selection(tab, ("bloodmnist", "vit_finetuned"))}
    )
    assert update[tab.pickers.selection].checkpoint == CHECKPOINT
    assert (update[tab.pickers.subset], update[tab.pickers.model].value) == CHECKPOINT


def test_an_unfinished_study_has_a_link(tab):
    kept = start(tab)
    parts = {"dataset": "breastmnist", "model": "cnn", "tab": "reader-study"}
    assert tab.link({tab.kept: kept}) == parts
    assert tab.link({tab.kept: None}) is None
    kept["study"]["model"] = "other"
    assert tab.link({tab.kept: kept}) is None
    assert tab.link({tab.kept: finish(tab, start(tab))[tab.kept]}) is None


def test_a_misled_case_opens_with_its_dataset_and_model(tab):
    kept = start(tab)
    update = tab.open_misled(initial_values(tab.pickers.inputs) | {tab.kept: kept}, SimpleNamespace(index=3))
    assert update[tab.pickers.subset] == "breastmnist"
    assert update[tab.pickers.selection].checkpoint == CHECKPOINT
    assert update[tab.pickers.selection].sample.truth in (0, 1)


def test_a_study_is_dropped_or_kept_until_the_next_one(tab):
    values = {tab.pickers.selection: selection(tab)}
    dropped = tab.discard(values)[tab.kept]
    assert dropped == {}  # the browser's storage would keep the study where this were None
    assert visible(tab, tab.update(values | {tab.kept: dropped})) == ["setup"]
    assert tab.link({tab.kept: dropped}) is None
    update = tab.set_up_another(values)
    assert tab.kept not in update
    assert update[tab.setup.back].visible


def test_a_model_without_test_results_offers_no_study(tab):
    checkpoint = tab.cases.registry.checkpoint(*CHECKPOINT)
    assert why_impossible(checkpoint) == ""
    untested = replace(checkpoint, test_labels=checkpoint.test_labels[:0])
    assert "was not tested here" in why_impossible(untested)
