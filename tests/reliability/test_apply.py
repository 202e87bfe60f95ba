import shutil

import numpy as np
import pytest

import medvit
from medvit import checkpoint
from medvit.data import synthetic
from medvit.evaluation.metrics import probabilities
from medvit.inference.predictor import Predictor
from medvit.reliability.apply import Reliability

IMAGE = synthetic.draw("breastmnist", 0)


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint, to be changed."""
    return shutil.copytree(trained / "breastmnist" / "spt_lsa", tmp_path / "breastmnist" / "spt_lsa")


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", root=trained)


def test_predictions_are_calibrated_with_a_prediction_set_and_an_ood_check(predictor):
    answer = predictor(IMAGE)
    assert sum(answer["calibrated"].values()) == pytest.approx(1)
    assert answer["prediction_set"]["level"] == 0.90
    assert answer["label"] in answer["prediction_set"]["classes"]
    check = answer["in_distribution"]
    assert check["accepted"] == (check["score"] >= check["threshold"])


@pytest.mark.parametrize(("offset", "calibrated"), [(np.log(np.e - 1), False), (1.0, True)])
def test_a_temperature_of_one_calibrates_nothing(offset, calibrated, tmp_path):
    reliability = Reliability({"temperature": np.array([[offset, 0.0], [1.0, 0.0]])}, tmp_path)
    logits = np.array([[2.0, 0.0, -1.0]])
    assert reliability.is_calibrated is calibrated
    assert np.allclose(reliability.calibrated(logits), probabilities(logits)) is not calibrated


def test_sets_grow_with_the_level_and_hold_every_class_where_validation_is_too_small(predictor):
    reliability, prediction = predictor.trust, predictor.predict(IMAGE)
    assert set(prediction.prediction_set(0.5)) <= set(prediction.prediction_set(0.80))
    assert reliability.fitted_on() == 8  # half of 16 validation images
    assert sorted(prediction.prediction_set(0.99)) == [0, 1]


@pytest.mark.parametrize("level", [95, 0, 1, -0.5])
def test_a_level_outside_of_0_and_1_is_refused(predictor, level):
    with pytest.raises(medvit.MedvitError, match="between 0 and 1"):
        predictor.predict(IMAGE).prediction_set(level)


def test_test_time_augmentation_takes_one_forward_pass_and_is_symmetric(predictor):
    calls = []
    handle = predictor.explainer.model.register_forward_hook(lambda *_: calls.append(1))
    augmented = predictor.predict(IMAGE, tta=True)
    handle.remove()
    assert calls == [1]
    assert 0.5 <= augmented.agreement <= 1
    mirrored = predictor.predict(IMAGE[:, ::-1].copy(), tta=True)
    np.testing.assert_allclose(augmented.calibrated, mirrored.calibrated, atol=1e-5)
    attentions = augmented.forward_pass.attentions
    assert attentions.shape == predictor.predict(IMAGE).forward_pass.attentions.shape


def test_statistics_of_other_weights_are_ignored_and_the_model_still_predicts(folder):
    arrays = dict(checkpoint.load(folder).trust)
    checkpoint.write_trust(folder, arrays | {"sha256": np.array("0" * 64)})
    changed = checkpoint.load(folder)
    assert changed.trust is None
    assert "fitted to other weights" in changed.trust_problem
    answer = Predictor(changed)(IMAGE)
    assert answer["calibrated"] is answer["prediction_set"] is answer["in_distribution"] is None
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("damage", ["cut", "objects", "absent", "older keys"])
def test_damaged_or_absent_statistics_are_ignored_and_the_reason_is_stated(folder, damage):
    path = folder / checkpoint.TRUST
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif damage == "objects":
        np.savez(path, sha256=np.array([{"a": 1}], dtype=object))
    elif damage == "older keys":
        np.savez(path, **checkpoint.load(folder).trust, set_method=np.array("raps"))
    else:
        path.unlink()
    changed = checkpoint.load(folder)
    assert changed.trust is None
    assert "medvit evaluate --fit" in changed.trust_problem
    assert Reliability.of(changed) is None


def test_without_its_reference_model_there_is_no_ood_check(folder):
    arrays = dict(checkpoint.load(folder).trust)
    checkpoint.write_trust(folder, arrays | {"ood_reference": np.array("another")})
    answer = Predictor(checkpoint.load(folder))(IMAGE)
    assert answer["in_distribution"] is None
    assert answer["calibrated"] is not None
