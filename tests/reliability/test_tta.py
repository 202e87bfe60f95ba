import numpy as np
import pytest
import torch

from medvit.evaluation.metrics import probabilities
from medvit.reliability import tta


def test_the_augmentations_are_flips_and_rotations_with_the_image_first():
    pixels = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4)
    eight = tta.augment(pixels, "bloodmnist").view(8, 2, 3, 4, 4)
    assert torch.equal(eight[0], pixels)
    assert len({tuple(augmented[0].flatten().tolist()) for augmented in eight}) == 8
    two = tta.augment(pixels, "breastmnist").view(2, 2, 3, 4, 4)
    assert torch.equal(two[1], pixels.flip(3))
    assert (tta.count("bloodmnist"), tta.count("breastmnist")) == (8, 2)


def test_a_certain_prediction_outweighs_an_uncertain_one():
    logits = np.array([[[6.0, 0, 0]], [[0, 0.1, 0]]])  # certain of class 0, hardly of class 1
    combined, agreement = tta.combine(logits)
    plain = probabilities(logits[:, 0]).mean(0)
    assert combined[0, 0] > plain[0] + 0.2
    assert combined.sum() == pytest.approx(1)
    assert agreement.tolist() == [0.5]


def test_equal_predictions_combine_to_themselves():
    logits = np.array([[6.0, 0, 0]])
    combined, agreement = tta.combine(np.stack([logits] * 4))
    np.testing.assert_allclose(combined, probabilities(logits))
    assert agreement.tolist() == [1.0]


def test_several_labels_are_averaged_and_agree_label_by_label():
    logits = np.array([[[3.0, -3]], [[3.0, 1]]])
    combined, agreement = tta.combine(logits, multi_label=True)
    np.testing.assert_allclose(combined, probabilities(logits, True).mean(0))
    assert agreement.tolist() == [0.75]
