"""A model of timm in the format of transformers predicts the same, and its memory is known in advance."""

import json

import pytest
import torch

from medvit.errors import MedvitError
from medvit.models import timm_models

timm = pytest.importorskip("timm")
ARGUMENTS = dict(img_size=64, depth=2)
CONFIG = {"architecture": "vit_tiny_patch16_224", "model_args": ARGUMENTS}


def test_the_wrapped_model_predicts_the_same_and_the_original_stays():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **ARGUMENTS).eval()
    wrapped, inputs = timm_models.wrap(model, CONFIG), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(wrapped(inputs).logits, model(inputs))
    assert timm_models.is_timm(model)
    assert not timm_models.is_timm(wrapped)


def test_a_configuration_of_another_model_is_refused():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **ARGUMENTS)
    with pytest.raises(MedvitError, match="does not build the same model"):
        timm_models.wrap(model, CONFIG | {"model_args": dict(img_size=64, depth=3)})


@pytest.mark.parametrize("heads", [3, 192])
def test_the_values_are_those_of_all_attention_or_of_the_largest_output(tmp_path, heads):
    config = CONFIG | {"model_args": ARGUMENTS | {"num_heads": heads}}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **config["model_args"])
    timm_models.wrap(model, config).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == timm_models.MODEL_TYPE
    attention, hidden = 2 * heads * 17**2, 17 * 4 * 192
    assert timm_models.count_values(tmp_path, 64) == max(attention, hidden)
