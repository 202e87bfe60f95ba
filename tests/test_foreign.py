import numpy as np
import pytest
import torch
from torch import nn

from medvit.data import as_rgb
from medvit.errors import MedvitError
from medvit.reliability import ood, outliers
from medvit.reliability.fit import auroc


def readings(own=(True, True, True, False)):
    """Training, inside and outside readings of a linear head on clusters; outside lies off all of them."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    centres = np.zeros((4, 12))
    centres[np.arange(4), np.arange(4)] = 6
    head = nn.Linear(12, 4)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(centres))
        head.bias.zero_()

    def reading(features):
        logits = head(torch.from_numpy(features).float()).detach().numpy()
        return ood.ModelOutputs(features.astype(np.float32), logits, np.array(own))

    labels = rng.integers(0, 3, 600)
    inside = centres[labels] + rng.normal(size=(600, 12)) * np.r_[np.ones(4), np.full(8, 0.2)]
    outside = rng.normal(size=(200, 12)) * np.r_[np.ones(4), np.full(8, 2.0)] + np.r_[0, 0, 0, 4, np.zeros(8)]
    return reading(inside[:400]), labels[:400], reading(inside[400:]), reading(outside), head


@pytest.mark.parametrize("name", ["energy", "mahalanobis", "nearest neighbours", "vim", "subset odds"])
def test_every_score_tells_what_lies_elsewhere(name):
    training, labels, inside, outside, head = readings()
    known = ood.fit(name, training, labels, head)
    assert auroc(ood.score(name, known, inside), ood.score(name, known, outside)) > 0.95
    assert all(value.dtype in (np.float32, np.float16) for value in known.values())


def test_the_largest_probability_alone_is_fooled_by_what_lies_far_out():
    training, labels, inside, _, head = readings(own=(True,) * 4)
    far = ood.ModelOutputs(inside.features * 50, inside.logits * 50, inside.own)
    assert auroc(*(ood.score("max softmax", {}, r) for r in (inside, far))) < 0.5
    known = ood.fit("mahalanobis", training, labels, head)
    assert auroc(*(ood.score("mahalanobis", known, r) for r in (inside, far))) > 0.99


def test_vim_sees_directions_that_too_few_training_images_left_empty():
    """A wide backbone has more features than there are training images."""
    training, labels, _, _, _ = readings()
    features = np.pad(training.features[:20], ((0, 0), (0, 28)))  # 20 images, 40 features
    head = nn.Linear(40, 4)
    nn.init.zeros_(head.bias)
    inside = ood.ModelOutputs(features, training.logits[:20], training.own)
    features = features.copy()
    features[:, 30] = 5
    elsewhere = ood.ModelOutputs(features, training.logits[:20], training.own)
    known = ood.fit("vim", inside, labels[:20], head)
    assert auroc(ood.score("vim", known, inside), ood.score("vim", known, elsewhere)) > 0.99


def test_the_odds_need_classes_of_other_subsets():
    assert "subset odds" in ood.available(readings()[0])
    assert "subset odds" not in ood.available(readings(own=(True,) * 4)[0])
    with pytest.raises(MedvitError, match="no score 'magic'"):
        ood.score("magic", {}, readings()[0])


def test_drawn_pictures_are_repeatable_and_of_many_kinds():
    one, same, other = (outliers.synthetic_outliers(21, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any(axis=(1, 2, 3)).all()
    assert one.shape == (21, 28, 28, 3)
    assert one.dtype == np.uint8


@pytest.mark.parametrize("kind", outliers.KINDS)
def test_pictures_of_a_kind_take_the_path_of_an_upload(kind):
    colour, grey = outliers.draw(kind, 6, False), outliers.draw(kind, 6, True)
    assert colour.shape == grey.shape == (6, 28, 28, 3)
    assert np.ptp(grey, axis=-1).max() == 0
    assert len({picture.tobytes() for picture in colour}) == 6


def test_a_colour_image_is_grey_to_a_grey_subset():
    colour = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    assert np.ptp(as_rgb(colour, True), axis=-1).max() == 0
    np.testing.assert_array_equal(as_rgb(colour, False), colour)
    np.testing.assert_array_equal(as_rgb(colour[..., 0], False)[..., 2], colour[..., 0])
    assert (outliers.recolour(colour, 0) != colour).any(axis=(1, 2, 3)).all()
