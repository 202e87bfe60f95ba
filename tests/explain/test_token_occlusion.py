"""Dropping tokens equals what each library's model computes from the tokens that are left."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification

from medvit.errors import MedvitError
from medvit.explain import Explainer
from medvit.explain.token_occlusion import predict_kept, random_halves

from .conftest import small_vit
from .test_explainer import SMALL, hooks, make

INPUTS = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def leave_one_out(count=16):
    return ~torch.eye(count, dtype=torch.bool)


def without_patch(model, patch):
    """The logits of a ViT of transformers without one patch, its modules called one by one."""
    tokens = model.vit.embeddings(INPUTS)
    tokens = torch.cat([tokens[:, : 1 + patch], tokens[:, 2 + patch :]], 1)
    for layer in model.vit.layers:
        tokens = layer(tokens)
    return model.classifier(model.vit.layernorm(tokens)[:, 0])


@torch.no_grad()
def test_leave_one_out_equals_the_model_without_that_token():
    model = small_vit()
    result = Explainer(model)(INPUTS)
    expected = [
        result.probabilities[2] - without_patch(model, patch).softmax(-1)[0, 2] for patch in range(16)
    ]
    values = result.heatmap("token_occlusion", 2)
    assert values.shape == (4, 4)
    np.testing.assert_allclose(values.ravel(), torch.stack(expected), atol=1e-6)


def large_weights(model):
    """The same model with weights so large that attention is far from even."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model.eval()


@pytest.mark.parametrize("kind", ["deit", "dinov2 with registers", "siglip", "vit"])
def test_models_of_transformers_give_the_prediction_of_all_tokens(kind):
    explainer = Explainer(large_weights(small_vit() if kind == "vit" else make(kind)))
    result = explainer(INPUTS)
    everything = predict_kept(explainer, result, torch.ones(2, 16, dtype=torch.bool))
    torch.testing.assert_close(everything, result.probabilities.expand(2, -1), atol=1e-5, rtol=0)
    assert np.ptp(result.heatmap("token_occlusion")) > 0


def test_models_of_timm_and_torchvision_can_drop_tokens():
    timm = pytest.importorskip("timm")
    size = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=4)
    models = [
        large_weights(VisionTransformer(32, 8, 3, 4, 48, 96, num_classes=4)),
        large_weights(timm.models.VisionTransformer(**size)),
        large_weights(timm.models.VisionTransformer(**size, class_token=False, global_pool="avg")),
        large_weights(timm.models.VisionTransformer(**size, reg_tokens=4)),
    ]
    for model in models:
        assert np.ptp(Explainer(model)(INPUTS).heatmap("token_occlusion")) > 0


@pytest.mark.parametrize("class_token", [True, False])
def test_a_model_with_rotary_positions_is_refused(class_token):
    timm = pytest.importorskip("timm")
    model = timm.models.Eva(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=4, use_rot_pos_emb=True,
        use_abs_pos_emb=False, class_token=class_token, global_pool="avg",
    )  # fmt: skip
    result = Explainer(large_weights(model))(INPUTS)
    assert "token_occlusion" not in result.explainer.methods()
    assert "relevance" in result.explainer.methods()
    with pytest.raises(MedvitError, match="Token occlusion needs .* can be dropped .* Eva uses positions"):
        result.heatmap("token_occlusion")


class WithNeighbour(nn.Module):
    """Adds to each token the one before it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, tokens, *args, **kwargs):
        return self.block(tokens + tokens.roll(1, 1), *args, **kwargs)


def test_a_model_that_reads_the_order_of_its_tokens_is_refused():
    model = large_weights(small_vit())
    assert Explainer(model).structure().first_block is model.vit.layers[0]
    for index, block in enumerate(model.vit.layers):
        model.vit.layers[index] = WithNeighbour(block)
    assert Explainer(model).structure().first_block is None


def test_random_subsets_find_the_same_patches_as_their_definition():
    result = Explainer(large_weights(small_vit()))(INPUTS)
    kept = random_halves(16, 200)
    assert (kept.sum(1) == 8).all()
    assert torch.equal(kept[1::2], ~kept[::2])
    probs = predict_kept(result.explainer, result, kept)[:, 1]
    expected = [probs[kept[:, i]].mean() - probs[~kept[:, i]].mean() for i in range(16)]
    values = result.heatmap("token_occlusion", 1, token_subsets=200)
    np.testing.assert_allclose(values.ravel(), torch.stack(expected), atol=1e-5)
    again = result.explainer(INPUTS).heatmap("token_occlusion", 1, token_subsets=200)
    np.testing.assert_array_equal(values, again)


def test_an_odd_number_of_patches_is_halved_and_too_few_subsets_are_refused():
    kept = random_halves(7, 5)
    assert kept.shape == (5, 7)
    assert (kept.sum(1) == 3).all()
    assert not (kept[0] & kept[1]).any()
    for count in (-3, 1):
        with pytest.raises(MedvitError, match="token_subsets is 0"):
            Explainer(small_vit())(INPUTS).heatmap("token_occlusion", token_subsets=count)


def test_a_pass_of_another_thread_keeps_all_its_tokens():
    model = large_weights(small_vit())
    explainer = Explainer(model)
    result = explainer(INPUTS)
    expected = predict_kept(explainer, result, leave_one_out())
    with ThreadPoolExecutor(4) as pool:
        passes = [pool.submit(explainer, INPUTS) for _ in range(40)]
        maps = [pool.submit(predict_kept, explainer, result, leave_one_out()) for _ in range(20)]
        for each in passes:
            torch.testing.assert_close(each.result().logits, result.logits, atol=1e-5, rtol=0)
        for each in maps:
            torch.testing.assert_close(each.result(), expected, atol=1e-5, rtol=0)
    assert hooks(model) == 0


def test_registers_and_class_token_are_never_dropped():
    torch.manual_seed(0)
    model = Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**SMALL)).eval()
    explainer = Explainer(large_weights(model))
    result = explainer(INPUTS)
    lengths = []
    handle = model.dinov2_with_registers.encoder.layer[1].register_forward_pre_hook(
        lambda _, inputs: lengths.append(inputs[0].shape[:2])
    )
    predict_kept(explainer, result, leave_one_out())
    predict_kept(explainer, result, random_halves(16, 2))
    handle.remove()
    assert lengths == [(16, 20), (2, 13)]
