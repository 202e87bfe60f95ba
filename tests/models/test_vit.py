"""The vanilla ViT, and what `vit` and `spt_lsa` have in common."""

import pytest
import torch

from medvit.models.spt_lsa import SptLsaConfig, SptLsaForImageClassification
from medvit.models.vit import VitConfig, VitForImageClassification, drop_patches

SMALL = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, num_labels=5, drop_path=0.0)


def small(name, **config):
    """A small model in evaluation mode."""
    torch.manual_seed(0)
    if name == "vit":
        return VitForImageClassification(VitConfig(**SMALL | config)).eval()
    return SptLsaForImageClassification(SptLsaConfig(**SMALL | config)).eval()


BOTH = pytest.mark.parametrize("name", ["vit", "spt_lsa"])


@BOTH
@pytest.mark.parametrize("grad", [True, False])
def test_all_attentions_are_returned_and_change_no_logits(name, grad):
    model, x = small(name), torch.randn(2, 3, 28, 28)
    model.blocks[0].requires_grad_(False)
    with torch.set_grad_enabled(grad):
        plain, output = model(x), model(x, output_attentions=True)
    torch.testing.assert_close(plain.logits, output.logits, atol=1e-5, rtol=1e-5)
    assert plain.attentions is None
    assert [weights.shape for weights in output.attentions] == [(2, 2, 50, 50)] * 3
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))


@BOTH
def test_training_computes_only_the_class_token_of_the_last_block(name):
    model, x, tokens = small(name), torch.randn(2, 3, 28, 28), []
    model.blocks[-1].register_forward_hook(lambda _module, _inputs, output: tokens.append(output[0].shape[1]))
    results = []
    for training in (False, True):
        model.train(training).zero_grad()
        logits = model(x).logits
        logits[:, 3].sum().backward()
        results.append([logits, *(parameter.grad.clone() for parameter in model.parameters())])
    assert tokens == [50, 1]
    for evaluated, trained in zip(*results, strict=True):
        torch.testing.assert_close(trained, evaluated, atol=1e-5, rtol=1e-4)
    assert model(x, output_hidden_states=True).hidden_states[-1].shape == (2, 50, 24)


@BOTH
def test_inputs_are_cast_to_the_dtype_of_the_weights(name):
    model, x = small(name), torch.randn(1, 3, 28, 28)
    expected = model(x).logits
    half = model.half()(x)
    assert half.logits.dtype == torch.float16
    torch.testing.assert_close(half.logits.float(), expected, atol=0.02, rtol=0.05)


@BOTH
def test_patch_dropout_applies_in_training_only(name):
    model, plain, x = small(name, patch_dropout=0.5), small(name), torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(model(x).logits, plain(x).logits)
    output = model.train()(x, output_hidden_states=True)
    assert output.hidden_states[0].shape == (2, 25, 24)  # the class token and half of 49 patches, rounded
    output.logits.sum().backward()
    assert model.position_embedding.grad.abs().sum() > 0


def test_dropped_patches_differ_between_images_and_the_class_token_stays():
    tokens = torch.arange(50.0).view(1, 50, 1).expand(4, 50, 3)
    kept = drop_patches(tokens, 0.75)[..., 0]  # (4, 13)
    assert kept.shape == (4, 13)
    assert (kept[:, 0] == 0).all()
    assert all(len(row.unique()) == 13 for row in kept)
    assert not torch.equal(kept[0].sort().values, kept[1].sort().values)
    assert drop_patches(tokens, 0.999).shape[1] == 2


@pytest.mark.parametrize(
    "config", [dict(image_size=30), dict(hidden_size=25), dict(patch_dropout=1.0), dict(patch_dropout=-0.1)]
)
def test_impossible_configurations_are_refused(config):
    with pytest.raises(ValueError, match=next(iter(config))):
        VitConfig(**config)


def test_a_configuration_of_an_older_version_has_no_patch_dropout():
    content = VitConfig().to_dict()
    del content["patch_dropout"]
    assert VitConfig.from_dict(content).patch_dropout == 0
