import shutil

import numpy as np
import pytest

import medvit
from medvit import checkpoint
from medvit.data import medmnist, synthetic
from medvit.inference.predictor import Predictor
from medvit.inference.registry import Sample
from medvit.reliability import fit, measure
from medvit.reliability.fit import Trust
from medvit.ui import parts

from .conftest import run_script


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint, to be changed."""
    target = tmp_path / "breastmnist" / "spt_lsa"
    shutil.copytree(trained / "breastmnist" / "spt_lsa", target)
    return target


def test_nothing_in_it_comes_from_the_test_split(trained, synthetic_root, tmp_path):
    """Other test images and labels, of every subset, leave each array as it is."""
    for name in medmnist.MAIN:
        with np.load(synthetic_root / f"{name}.npz") as archive:
            arrays = dict(archive)
        arrays["test_labels"] = 1 - arrays["test_labels"].clip(max=1)
        arrays["test_images"] = 255 - arrays["test_images"][::-1]
        np.savez(tmp_path / f"{name}.npz", **arrays)
    found = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    fitted, _ = fit.fit(
        found.model, found.preprocessing, found.dataset, found.card["sha256"], 28, tmp_path, trained
    )
    assert fitted.keys() == found.trust.keys()
    for key, value in found.trust.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(fitted[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
        else:
            assert fitted[key] == value, key


def test_validation_labels_do_matter(trained, synthetic_root, tmp_path):
    """The test above would pass of anything that read no labels at all."""
    for name in medmnist.MAIN:
        shutil.copy(synthetic_root / f"{name}.npz", tmp_path)
    with np.load(synthetic_root / "breastmnist.npz") as archive:
        arrays = dict(archive)
    arrays["val_labels"] = 1 - arrays["val_labels"]
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    found = checkpoint.load(trained / "breastmnist" / "spt_lsa")
    fitted, _ = fit.fit(
        found.model, found.preprocessing, found.dataset, found.card["sha256"], 28, tmp_path, trained
    )
    assert not np.allclose(fitted["set_scores"], found.trust["set_scores"])


def test_temperature_and_sets_come_from_different_images():
    labels = np.random.default_rng(0).integers(0, 3, 101)
    one, other = fit.halves(labels)
    assert not set(one) & set(other)
    assert len(one) + len(other) == 101
    assert abs(np.bincount(labels[one]) - np.bincount(labels[other])).max() <= 2


def test_training_leaves_a_small_one_without_objects(trained):
    path = trained / "breastmnist" / "spt_lsa" / checkpoint.TRUST
    assert path.stat().st_size < 1e6
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[key].dtype != object for key in archive.files)


def test_one_of_other_weights_is_left_aside_and_the_model_still_answers(folder):
    arrays = dict(checkpoint.load(folder).trust)
    checkpoint.write_trust(folder, arrays | {"sha256": np.array("0" * 64)})
    found = checkpoint.load(folder)
    assert found.trust is None
    assert "fitted to other weights" in found.trust_problem
    answer = Predictor(found)(synthetic.draw("breastmnist", 0))
    assert answer["calibrated"] is answer["prediction_set"] is answer["in_distribution"] is None
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("damage", ["cut", "objects", "absent"])
def test_a_damaged_or_absent_one_is_said_and_left_aside(folder, damage):
    path = folder / checkpoint.TRUST
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif damage == "objects":
        np.savez(path, sha256=np.array([{"a": 1}], dtype=object))
    else:
        path.unlink()
    found = checkpoint.load(folder)
    assert found.trust is None
    assert "evaluate.py --fit" in found.trust_problem
    assert "not calibrated" in parts.answer(Predictor(found).predict(synthetic.draw("breastmnist", 0)), CASE)


CASE = Sample("breastmnist", synthetic.draw("breastmnist", 0), "your image")


def test_an_answer_is_calibrated_and_has_a_set_and_a_likeness(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    answer = predictor(CASE.source)
    assert sum(answer["calibrated"].values()) == pytest.approx(1)
    assert answer["prediction_set"]["level"] == 0.90
    assert answer["label"] in answer["prediction_set"]["classes"]
    seen = answer["in_distribution"]
    assert seen["accepted"] == (seen["score"] >= seen["threshold"])


def test_the_temperature_changes_no_answer(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    for number in range(6):
        prediction = predictor.predict(synthetic.draw("breastmnist", number))
        assert prediction.calibrated.argmax() == prediction.probabilities.argmax()


def test_sets_grow_with_the_level_and_hold_every_class_where_validation_is_too_small(trained):
    prediction = medvit.load("breastmnist", "spt_lsa", root=trained).predict(CASE.source)
    assert set(prediction.prediction_set(0.5)) <= set(prediction.prediction_set(0.80))
    assert prediction.trust.fitted_on() == 8  # half of 16 validation phantoms
    assert sorted(prediction.prediction_set(0.99)) == [0, 1]
    assert "too few images (8) to promise 99%" in parts.answer(prediction, CASE, 0.99)
    with pytest.raises(medvit.MedvitError, match="between 0 and 1"):
        prediction.prediction_set(95)


def test_views_are_asked_in_one_pass_and_say_whether_they_agree(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    calls = []
    handle = predictor.explainer.model.register_forward_hook(lambda *_: calls.append(1))
    together = predictor.predict(CASE.source, tta=True)
    handle.remove()
    assert calls == [1]
    assert 0.5 <= together.agreement <= 1
    mirrored = predictor.predict(CASE.source[:, ::-1].copy(), tta=True)
    np.testing.assert_allclose(together.calibrated, mirrored.calibrated, atol=1e-5)
    assert together.forward_pass.attentions.shape == predictor.predict(CASE.source).forward_pass.attentions.shape


def test_a_foreign_image_is_noticed_over_a_dimmed_answer(trained):
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    prediction = predictor.predict(CASE.source)
    strange = fit.InDistribution(-2.0, 1.0)
    object.__setattr__(prediction, "in_distribution", strange)
    shown = parts.answer(prediction, CASE)
    assert "answer foreign" in shown
    assert "does not look like BreastMNIST" in shown
    assert "show anyway" in shown
    drawing = parts.answer(prediction, Sample("breastmnist", CASE.source, "synthetic example 3", synthetic=True))
    assert "answer foreign" not in drawing
    assert "being a drawing" in drawing
    object.__setattr__(prediction, "in_distribution", fit.InDistribution(2.0, 1.0))
    assert "foreign" not in parts.answer(prediction, CASE)


def test_the_card_holds_the_figures_with_their_intervals(trained):
    section = checkpoint.load(trained / "breastmnist" / "spt_lsa").card["trust"]
    assert section["n"] == 16
    for when in ("before", "after"):
        assert {"ece", "ece_floor", "ece_10", "ece_10_floor", "brier", "nll"} == set(section[when])
    low, high = section["sets"]["levels"]["0.90"]["coverage_interval"]
    assert 0 <= low <= section["sets"]["levels"]["0.90"]["coverage"] <= high <= 1
    assert not section["sets"]["levels"]["0.99"]["possible"]
    assert set(section["operating"]["presets"]) == {"90 % sensitivity", "Youden"}
    assert section["views"]["count"] == 2
    assert {"photographs", "text pages", "noise", "bloodmnist"} <= set(section["foreign"]["kinds"])


def test_the_command_fits_and_confirms(folder, synthetic_root, tmp_path):
    before = dict(checkpoint.load(folder).trust)
    (folder / checkpoint.TRUST).unlink()
    common = ("--data-root", synthetic_root, "--out", tmp_path / "results", folder)
    done = run_script("evaluate.py", "--fit", *common)
    assert done.returncode == 0, done.stderr
    after = checkpoint.load(folder).trust
    np.testing.assert_allclose(after["temperature"], before["temperature"], rtol=1e-3, atol=1e-4)
    done = run_script("evaluate.py", "--robustness", *common)
    assert done.returncode == 0, done.stderr
    header, row = (tmp_path / "results" / "trust.csv").read_text().splitlines()
    assert tuple(header.split(",")) == measure.COLUMNS
    assert row.startswith("breastmnist,spt_lsa,16,")
    assert len((tmp_path / "results" / "robustness.csv").read_text().splitlines()) == 2 + 7


def test_trust_is_none_where_there_is_none(folder):
    (folder / checkpoint.TRUST).unlink()
    assert Trust.of(checkpoint.load(folder)) is None
