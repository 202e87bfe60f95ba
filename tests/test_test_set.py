"""What the Test set tab shows: images behind numbers, tables, and our own components."""

import re

import numpy as np
import pytest

from medvit import checkpoint, plots
from medvit.data import medmnist, settings
from medvit.errors import MedvitError
from medvit.evaluation import selection as select
from medvit.evaluation.one_vs_rest import per_class
from medvit.inference.registry import Registry
from medvit.ui.components.confusion_matrix import render, render_difference
from medvit.ui.components.embedding_plot import points
from medvit.ui.components.gallery import PAGE, Item
from medvit.ui.components.gallery import render as render_gallery
from medvit.ui.panels import selection as cases
from medvit.ui.panels.selection import Selection

LABELS = np.array([0, 0, 0, 1, 1, 2])
SCORES = np.array(
    [[0.6, 0.3, 0.1], [0.9, 0.1, 0], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.95, 0.05, 0], [0.3, 0.3, 0.4]]
)
OTHERS = np.array(
    [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.9, 0.1, 0], [0.3, 0.6, 0.1], [0.3, 0.3, 0.4]]
)


def test_a_cell_holds_its_images_most_confident_first():
    assert select.in_cell(SCORES, LABELS, 0, 0).tolist() == [1, 0]
    assert select.in_cell(SCORES, LABELS, 1, 0).tolist() == [4]
    assert select.in_cell(SCORES, LABELS, 2, 0).tolist() == []


def test_mistakes_are_the_images_off_the_diagonal():
    assert select.misclassified(SCORES, LABELS).tolist() == [4, 2]


def test_mistakes_with_several_labels_are_those_with_a_wrong_label():
    scores = np.array([[0.9, 0.2], [0.4, 0.9], [0.1, 0.1]])
    labels = np.array([[1, 0], [1, 0], [0, 0]])
    assert select.misclassified(scores, labels).tolist() == [1]


def test_two_models_disagree_where_their_classes_differ():
    assert select.disagreements(SCORES, OTHERS).tolist() == [4, 1, 3]
    assert select.in_one_cell_only(SCORES, OTHERS, LABELS, 1, 0).tolist() == [4, 3]
    assert select.in_one_cell_only(SCORES, OTHERS, LABELS, 0, 0).tolist() == [1]


def test_per_class_figures_lie_in_their_intervals():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    scores = np.eye(3)[np.where(rng.random(300) < 0.7, labels, rng.integers(0, 3, 300))]
    for one in per_class(labels, scores, ("a", "b", "c")):
        for value, interval in (
            (one.precision, one.precision_interval),
            (one.recall, one.recall_interval),
            (one.f1, one.f1_interval),
        ):
            assert interval[0] < value < interval[1]
            assert 0.03 < interval[1] - interval[0] < 0.3


def test_a_class_that_is_absent_has_no_interval():
    absent = per_class(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]], ("a", "b", "c"))[2]
    assert (absent.support, absent.recall_interval, absent.f1_interval) == (0, None, None)
    assert np.isnan(absent.auc)


def test_published_figures_name_protocol_and_source():
    for name in medmnist.MAIN:
        rows = settings.of(name).published
        assert rows
        assert all(0 < row.accuracy < 1 and row.protocol and row.source for row in rows)
    assert settings.of("chestmnist").published == []


@pytest.mark.parametrize("draw", [plots.roc_curves, plots.precision_recall_curves])
def test_curves_have_one_line_a_class_and_their_mean(draw):
    names = [trace.name for trace in draw(LABELS, SCORES, ("a", "b", "c", "absent")[:3]).data if trace.name]
    assert len(names) == 4
    assert names[-1].startswith("mean")


def test_thinning_a_curve_moves_it_by_less_than_can_be_seen():
    rng = np.random.default_rng(0)
    labels, score = rng.integers(0, 2, 20_000), rng.random(20_000)
    trace = plots.roc_curves(labels, np.stack([1 - score, score], 1), ("no", "yes")).data[1]
    assert len(trace.x) < 3000
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, score)
    assert np.abs(np.interp(false, trace.x, trace.y) - true).max() < 0.005


MATRIX = np.array([[5, 1], [0, 4]])


def test_the_matrix_is_a_table_of_buttons_with_pair_and_share_in_words():
    shown = render(MATRIX, ("a <b>", "c"))
    assert "<b>" not in shown
    assert shown.count("<button") == 4
    assert (
        "truth a &lt;b&gt;, the model says c: 1 image, 16.7% of this truth, 20.0% of these answers" in shown
    )
    assert shown.count("tabindex='0'") == 1
    assert shown.count("aria-disabled") == 1  # the cell without images


def test_the_matrix_says_its_mistakes_in_a_text_table():
    text = render(MATRIX, ("a", "c")).split("<details>")[1]
    assert re.findall("<td>(.*?)</td>", text) == ["a", "c", "1", "16.7%"]


def test_a_difference_is_signed():
    shown = render_difference(MATRIX, MATRIX.T, ("a", "c"), ("one", "two"))
    assert re.findall("class='counts'>(.*?)<", shown) == ["0", "+1", "\N{MINUS SIGN}1", "0"]


def test_a_gallery_without_pictures_lists_the_cases_in_words():
    items = [Item(3, "90.0%", "Test image 3: truth a; the model says c, 90.0%")]
    shown = render_gallery("title", "note", items, None, 0, 1)
    assert "Test image 3: truth a" in shown
    assert "<button" not in shown
    assert "<img" not in shown


def test_a_gallery_has_pages():
    items = [Item(i, "", "") for i in range(PAGE)]
    shown = render_gallery("title", "note", items, np.zeros((PAGE, 4, 4), np.uint8), 1, 2 * PAGE + 1)
    assert "page 2 of 3" in shown
    assert shown.count("data-index") == PAGE
    assert "disabled" not in shown


def test_the_map_is_packed_without_loss_that_can_be_seen():
    plane = np.array([[-1, 1], [0.25, 0.5]], np.float16)
    yes = np.array([True, False])
    value = points(plane, yes, ~yes, yes, np.array([0.5, 0.123]), ("x", "y"))
    import base64

    back = np.frombuffer(base64.b64decode(value["positions"]), "<i2").reshape(-1, 2) / 32767
    np.testing.assert_allclose(back, plane, atol=1e-4)
    assert list(base64.b64decode(value["truth"])) == [1, 0]


@pytest.fixture
def registry(trained, synthetic_root):
    return Registry.open(trained, synthetic_root)


def ask(registry, selection, number=0, other=None):
    return cases.page(registry, "breastmnist", "spt_lsa", other, selection, number)


def test_the_gallery_of_a_cell_shows_exactly_its_images(registry):
    found = registry.checkpoint("breastmnist", "spt_lsa")
    row, column = int(found.test_labels[0]), int(found.test_logits[0].argmax())
    shown = ask(registry, Selection("cell", row, column))
    inside = (found.test_labels == row) & (found.test_logits.argmax(1) == column)
    indices = [int(i) for i in re.findall("data-index='(.*?)'", shown)]
    assert sorted(indices) == np.flatnonzero(inside).tolist()
    probs = [float(share) for share in re.findall(r"aria-hidden='true'>(.*?)%", shown)]
    assert probs == sorted(probs, reverse=True)


@pytest.mark.parametrize(
    ("selection", "number"),
    [(Selection("cell", 0, 2), 0), (Selection("cell", -1, 0), 0), (Selection("nonsense"), 0),
     (Selection("disagreements"), 0), (Selection(), 1), (Selection(), -1)],
)  # fmt: skip
def test_what_no_screen_offers_is_refused(registry, selection, number):
    with pytest.raises(MedvitError, match="There is no"):
        ask(registry, selection, number)


def test_without_data_the_gallery_says_so_and_shows_no_drawing(trained, tmp_path):
    shown = ask(Registry.open(trained, tmp_path), Selection("cell", 0, 0))
    assert "not on this machine" in shown or "There is none." in shown
    assert "<img" not in shown


def test_a_case_in_words_has_the_short_names_of_its_classes(tmp_path):
    registry = Registry.open(checkpoint.DEFAULT_ROOT, tmp_path)
    shown = cases.page(registry, "bloodmnist", "spt_lsa", None, Selection(), 0)
    assert "the model says immature granulocytes, " in shown
    assert "python scripts/download.py bloodmnist fetches them" in shown


def test_pictures_of_another_archive_are_not_shown(trained, tmp_path, synthetic_root):
    path = medmnist.archive_path("breastmnist", root=tmp_path)
    with np.load(medmnist.archive_path("breastmnist", root=synthetic_root)) as archive:
        np.savez(path, **(dict(archive) | {"test_labels": 1 - archive["test_labels"]}))
    for row in (0, 1):
        shown = ask(Registry.open(trained, tmp_path), Selection("cell", row, row))
        assert "<img" not in shown
        assert "not the one this model was tested on" in shown
