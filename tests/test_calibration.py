import numpy as np
import pytest
import torch

from medvit.evaluation.metrics import probabilities
from medvit.reliability import calibration, conformal, tta


def answers(count: int = 4000, classes: int = 5, sharpness: float = 3.0, seed: int = 0):
    """Logits whose softmax is exactly the chance of each label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * sharpness
    probs = probabilities(logits)
    labels = (rng.random((count, 1)) > probs.cumsum(1)).sum(1).clip(max=classes - 1)
    return logits, labels


def median_temperature(logits, labels):
    return np.median(calibration.temperature(logits, calibration.fit_temperature(logits, labels)))


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_what_made_logits_too_sharp_or_too_flat(factor):
    logits, labels = answers()
    assert median_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.08)


def test_a_multi_label_task_and_several_views_have_a_temperature_too():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 6)) * 2
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    assert median_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)
    logits, labels = answers()
    same = np.stack([logits * 2, logits * 2])
    assert median_temperature(same, labels) == pytest.approx(2, rel=0.08)


def test_the_temperature_by_hand():
    even, sure = np.zeros((1, 4)), np.array([[50.0, 0, 0, 0]])
    assert calibration.temperature(even, (calibration.ONE, 0.7)).item() == pytest.approx(1)
    # of an entropy of nothing: softplus(1 + 0.5 * log 0.02)
    assert calibration.temperature(sure, (1.0, 0.5)).item() == pytest.approx(np.log1p(np.exp(1 - 1.956012)))


def test_what_hides_how_sure_a_model_is_costs_nothing_after_calibration():
    """Smoothed labels teach a model to give no more than some share; a constant cannot undo that."""
    logits, labels = answers(8000, sharpness=6)
    smoothed = np.log(0.9 * probabilities(logits) + 0.1 / 5)
    fitted = calibration.fit_temperature(smoothed[:4000], labels[:4000])
    after = calibration.figures(calibration.calibrated(smoothed[4000:], fitted), labels[4000:])
    assert fitted[1] > 0.1
    assert after["ece"] < 2 * after["ece_floor"]
    flat = calibration.figures(probabilities(smoothed[4000:]), labels[4000:])
    assert flat["ece"] > 4 * after["ece"]


def test_few_images_make_no_model_surer():
    logits, labels = answers(150)
    assert median_temperature(logits * 0.25, labels) == pytest.approx(1, abs=0.01)
    assert median_temperature(logits * 4, labels) > 2
    assert calibration.fit_temperature(logits * 0.25, labels)[1] == 0


def test_a_model_that_is_hardly_ever_wrong_is_not_made_surer():
    logits = np.eye(4)[np.arange(400) % 4] * 3.0
    labels = np.arange(400) % 4
    labels[:9] += 1
    assert median_temperature(logits, labels % 4) == pytest.approx(1, abs=0.01)
    labels[9:15] += 1
    offset, slope = calibration.fit_temperature(logits, labels % 4)
    assert offset < calibration.ONE
    assert slope == 0


def test_the_error_of_a_small_case_by_hand():
    confidences = np.array([0.6, 0.6, 0.9, 0.9])
    correct = np.array([True, False, True, True])
    # two bins of two images: |1.2 - 1| and |1.8 - 2|, over four images
    assert calibration.calibration_error(confidences, correct, bins=2) == pytest.approx((0.2 + 0.2) / 4)


def test_perfect_calibration_has_no_error_and_overconfidence_has():
    confidence = np.full(1000, 0.8)
    right = np.arange(1000) % 5 > 0
    assert calibration.calibration_error(confidence, right) < 0.03
    assert calibration.calibration_error(np.ones(1000), right) == pytest.approx(0.2, abs=0.01)


def test_perfection_is_at_the_floor_and_overconfidence_is_above_it():
    logits, labels = answers(1000)
    perfect = calibration.figures(probabilities(logits), labels)
    assert perfect["ece"] == pytest.approx(perfect["ece_floor"], abs=0.015)
    sharp = calibration.figures(probabilities(logits * 4), labels)
    assert sharp["ece"] > 3 * sharp["ece_floor"]
    assert sharp["nll"] > perfect["nll"]
    assert sharp["brier"] > perfect["brier"]
    assert "perfect model would show" in calibration.verdict(sharp)
    assert "not distinguishable" in calibration.verdict(perfect | {"ece": perfect["ece_floor"]})


def test_the_floor_falls_as_the_test_set_grows():
    logits, _ = answers(4000)
    confidences = probabilities(logits).max(1)
    small, large = calibration.noise_floor(confidences[:150]), calibration.noise_floor(confidences)
    assert small > 3 * large


@pytest.mark.parametrize("method", conformal.METHODS)
@pytest.mark.parametrize("level", conformal.LEVELS)
def test_sets_hold_the_truth_as_often_as_promised(method, level):
    logits, labels = answers(40_000)
    probs = probabilities(logits)
    true = conformal.scores(probs, method)[np.arange(len(labels)), labels]
    limit = conformal.quantile(true[:10_000], level)
    found = conformal.figures(conformal.sets(probs[10_000:], method, limit), labels[10_000:])
    assert found["coverage"] > level - 0.01
    if method == "lac":  # the adaptive ones cover more where the first answer alone exceeds the limit
        assert found["coverage"] < level + 0.01
    assert found["coverage_interval"][0] < found["coverage"] < found["coverage_interval"][1]
    assert sum(part["images"] for part in found["by_size"].values()) == 30_000


def test_no_set_is_empty_and_a_sure_answer_stands_alone():
    probs = np.array([[0.98, 0.01, 0.01], [0.4, 0.35, 0.25]])
    for method in conformal.METHODS:
        assert conformal.sets(probs, method, -1.0).sum(1).tolist() == [1, 1]
    assert conformal.sets(probs, "lac", 0.7).tolist() == [[True, False, False], [True, True, False]]


def test_too_few_images_for_a_level_mean_every_class():
    assert conformal.needed(0.90) == 9
    assert conformal.needed(0.99) == 99
    assert conformal.quantile(np.zeros(98), 0.99) == np.inf
    assert conformal.quantile(np.arange(99.0), 0.99) == 98
    assert conformal.sets(np.array([[0.9, 0.1]]), "lac", np.inf).all()
    low, high = conformal.expected_range(0.90, 39)
    assert low < 0.85 < 0.95 < high


def test_an_adaptive_method_has_to_cover_as_much_in_smaller_sets():
    logits, labels = answers(4000)
    probs = probabilities(logits)

    def found(method):
        true = conformal.scores(probs, method)[np.arange(len(labels)), labels]
        return conformal.figures(conformal.sets(probs, method, conformal.quantile(true, 0.95)), labels)

    chosen, lac = found(conformal.choose_method(probs, labels, 0.95)), found("lac")
    assert chosen["mean_size"] <= lac["mean_size"] + 0.02
    assert chosen["coverage"] >= lac["coverage"] - 0.005
    assert conformal.choose_method(probs[:50], labels[:50], 0.95) == "lac"


def test_views_are_mirrors_and_turns_and_the_image_comes_first():
    pixels = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)
    eight = tta.make(pixels, "bloodmnist").view(8, 2, 3, 4, 4)
    assert torch.equal(eight[0], pixels)
    assert len({tuple(view[0].flatten().tolist()) for view in eight}) == 8
    two = tta.make(pixels, "breastmnist").view(2, 2, 3, 4, 4)
    assert torch.equal(two[1], pixels.flip(3))
    assert (tta.count("bloodmnist"), tta.count("breastmnist")) == (8, 2)


def test_a_sure_view_outweighs_an_unsure_one():
    logits = np.array([[[6.0, 0, 0]], [[0, 0.1, 0]]])  # sure of class 0, hardly of class 1
    together, agreement = tta.combine(logits)
    plain = probabilities(logits[:, 0]).mean(0)
    assert together[0, 0] > plain[0] + 0.2
    assert together.sum() == pytest.approx(1)
    assert agreement.tolist() == [0.5]
    alike, agreement = tta.combine(np.stack([logits[0]] * 4))
    np.testing.assert_allclose(alike[0], probabilities(logits[0])[0])
    assert agreement.tolist() == [1.0]
