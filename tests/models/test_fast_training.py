import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.models.fast_training import optimize_for_training
from medvit.models.finetune import apply_strategy

BLOOD, CPU = medmnist.get("bloodmnist"), torch.device("cpu")


@pytest.mark.parametrize("strategy", ["full", "last-1", "lora", "rlrr"])
def test_computing_only_the_class_token_changes_neither_logits_nor_gradients(strategy, backbone):
    torch.manual_seed(0)
    vit, _ = models.build("vit_finetuned", BLOOD, str(backbone))
    model = apply_strategy(vit, strategy)
    names, x = set(model.state_dict()), torch.randn(4, 3, 32, 32)

    def logits_and_gradients():
        model.zero_grad()
        logits = model(pixel_values=x).logits
        logits[:, 3].sum().backward()
        return {"logits": logits} | {name: p.grad.clone() for name, p in trained(model) if p.grad is not None}

    def trained(module):
        return ((name, p) for name, p in module.named_parameters() if p.requires_grad)

    expected, tokens = logits_and_gradients(), []
    optimize_for_training(vit, CPU)
    vit.vit.layers[-1].register_forward_hook(lambda _module, _inputs, output: tokens.append(output.shape[1]))
    optimized = logits_and_gradients()
    assert tokens == [1]
    assert set(model.state_dict()) == names
    assert len(optimized) > 2
    torch.testing.assert_close(optimized, expected, atol=1e-5, rtol=1e-4)


def test_patch_dropout_applies_in_training_only(backbone):
    torch.manual_seed(0)
    model, _ = models.build("vit_finetuned", BLOOD, str(backbone))
    names, tokens, x = set(model.state_dict()), [], torch.randn(2, 3, 32, 32)
    before = model.eval()(x).logits
    optimize_for_training(model, CPU, patch_dropout=0.5)
    model.vit.layers[0].register_forward_hook(lambda _module, _inputs, output: tokens.append(output.shape[1]))
    torch.testing.assert_close(model(x).logits, before, atol=1e-5, rtol=1e-4)
    model.train()(x).logits.sum().backward()
    assert tokens == [17, 9]
    assert set(model.state_dict()) == names


def test_other_models_stay_as_they_are():
    model, _ = models.build("vit", BLOOD)
    before = str(model)
    optimize_for_training(model, CPU)
    assert str(model) == before
