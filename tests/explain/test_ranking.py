"""The map that "auto" stands for."""

import json

import numpy as np
import pytest
import torch
from torchvision.models import resnet18
from transformers import ViTImageProcessor

import medvit
from medvit.explain import Explainer
from medvit.explain.ranking import is_above_chance, rank, rank_of_folder

from .conftest import small_vit, without_normalisation

INPUTS = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def card(**gains):
    return {"explanations": {"methods": {k: {"insertion_deletion_gain": gain} for k, gain in gains.items()}}}


@pytest.fixture
def folder(tmp_path):
    """A folder with a model, as transformers writes it."""
    small_vit().save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    return tmp_path


def test_the_most_faithful_map_is_first():
    assert rank(card(attention=0.2, grad_cam=0.3, unknown_to_this_version=0.9)) == ["grad_cam", "attention"]
    assert rank({}) == []


def test_auto_is_the_most_faithful_map_on_the_card(folder):
    (folder / "card.json").write_text(json.dumps(card(rollout=0.1, occlusion=0.3, relevance=0.2)))
    result = medvit.Explainer(folder)(INPUTS)
    assert result.explainer.best_method() == "occlusion"
    np.testing.assert_array_equal(result.heatmap(), result.heatmap("occlusion"))
    assert list(result.overlay("auto").getdata()) == list(result.overlay("occlusion").getdata())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"explanations": []}', '{"explanations": {"methods": {"rollout": {}}}}']
)
def test_a_card_without_measurements_gives_relevance(folder, text):
    (folder / "card.json").write_text(text)
    assert rank_of_folder(folder) == []
    assert medvit.Explainer(folder).best_method() == "relevance"


def test_auto_is_relevance_where_attention_can_be_read_and_else_grad_cam():
    transformer = Explainer(small_vit())(INPUTS)
    np.testing.assert_array_equal(transformer.heatmap("auto", 1), transformer.heatmap("relevance", 1))
    network = Explainer(resnet18(num_classes=3).eval(), without_normalisation())(INPUTS)
    np.testing.assert_array_equal(network.heatmap("auto"), network.heatmap("grad_cam"))


def test_a_map_on_the_card_that_does_not_fit_is_passed_over(folder):
    (folder / "card.json").write_text(json.dumps(card(token_occlusion=0.3, rollout=0.2)))
    explainer = medvit.Explainer(folder)
    assert explainer.best_method() == "token_occlusion"
    other = explainer.of(resnet18(num_classes=3).eval())
    assert other.best_method() == "grad_cam"


def test_a_map_is_above_chance_beyond_two_standard_errors():
    metrics = {"insertion_deletion_gain": 0.1, "insertion_deletion_gain_se": 0.04}
    assert is_above_chance(metrics)
    assert not is_above_chance(metrics | {"insertion_deletion_gain_se": 0.06})
    assert not is_above_chance(metrics | {"insertion_deletion_gain": -0.1})
