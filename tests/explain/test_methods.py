"""Every map on every model that it fits."""

import numpy as np
import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.explain import METHODS, MapOptions, scale

BY_CLASS = [name for name, method in METHODS.items() if method.by_class]
each_model = pytest.mark.parametrize("name", models.NAMES)


@each_model
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_model_it_fits(name, method, explained):
    model, result = explained(name)
    if method not in result.explainer.methods():
        with pytest.raises(MedvitError, match="needs attention over all patches"):
            result.heatmap(method)
        return
    for target in range(8):
        values = result.heatmap(method, target)
        assert values.ndim == 2
        assert np.isfinite(values).all()
        assert np.ptp(values) > 0, "a constant map"
        assert METHODS[method].signed or values.min() >= 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@each_model
@pytest.mark.parametrize("method", BY_CLASS)
def test_a_map_of_a_class_depends_on_the_class(name, method, explained):
    _, result = explained(name)
    if method in result.explainer.methods():
        maps = [scale(result.heatmap(method, target)) for target in range(8)]
        assert any(np.abs(maps[0] - other).max() > 0.05 for other in maps[1:])


def test_a_multi_label_model_is_explained_class_by_class(explained):
    _, result = explained("spt_lsa", medmnist.get("chestmnist"))
    torch.testing.assert_close(result.probabilities, result.logits.sigmoid())
    maps = [result.heatmap("relevance", target) for target in (0, 13)]
    assert np.abs(maps[0] - maps[1]).max() > 0


def test_the_attention_map_is_the_row_of_the_token(explained):
    _, result = explained("spt_lsa")
    attentions = result.attentions.numpy()
    head = result.heatmap("attention", 0, layer=1, head=2)
    np.testing.assert_array_equal(head.ravel(), attentions[1, 2, 0, 1:])
    all_heads = result.heatmap("attention", 0, layer=0)
    np.testing.assert_allclose(all_heads.ravel(), attentions[0, :, 0, 1:].mean(0), rtol=1e-6)
    patch = result.heatmap("attention", 0, layer=2, head=0, patch=10)
    np.testing.assert_array_equal(patch.ravel(), attentions[2, 0, 11, 1:])
    assert patch.ravel()[10] == 0, "in locality self-attention no token attends to itself"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(target=0, layer=3), "There is no layer 3; the model has 3"),
        (dict(target=0, layer=-4), "There is no layer"),
        (dict(target=0, head=4), "There is no head 4; the model has 4"),
        (dict(target=0, patch=49), "There is no patch 49; the image has 49"),
        (dict(target=8), "There is no class 8; the model has 8"),
        (dict(target=-2), "There is no class"),
        (dict(target=0, head_fusion="sum"), "mean, max or min"),
        (dict(target=0, discard_ratio=1.0), "below 1"),
    ],
)
def test_options_out_of_range_are_refused(options, words, explained):
    _, result = explained("vit")
    with pytest.raises(MedvitError, match=words):
        result.heatmap("attention", **options)


def test_an_unknown_method_names_the_known_ones(explained):
    _, result = explained("cnn")
    with pytest.raises(MedvitError, match="attention, rollout, gradient_rollout"):
        result.heatmap("lime")


def test_a_map_is_computed_once(explained):
    _, result = explained("vit")
    first = result.heatmap("rollout")
    assert list(result.heatmaps) == [("rollout", MapOptions(result.top))]
    result.heatmaps["rollout", MapOptions(result.top)] += 1
    np.testing.assert_array_equal(result.heatmap("rollout"), first + 1)
    assert result.overlay("rollout").size == (336, 336)
