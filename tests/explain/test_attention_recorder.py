"""Recorded attention, and its gradients, equal those of each library's own unfused computation."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from medvit.errors import MedvitError
from medvit.explain import Explainer, attention_recorder, explainer
from medvit.explain.attention_recorder import AttentionRecorder

from .conftest import small_vit

INPUTS = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)


def assert_equal_to(model, attentions, logits, target=1):
    """The explainer's attention and gradients are `attentions`, in the graph of `logits`."""
    gradients = torch.autograd.grad(logits[0, target], attentions, retain_graph=True)
    plain, differentiated = Explainer(model)(INPUTS), Explainer(model)(INPUTS, target=target)
    for result in (plain, differentiated):
        torch.testing.assert_close(result.logits, logits[0].detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(result.attentions, torch.cat(attentions).detach(), atol=1e-6, rtol=0)
    recorded = differentiated.gradients[target].attentions
    torch.testing.assert_close(recorded, torch.cat(gradients), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_vit_of_transformers(qkv_bias):
    model = small_vit(qkv_bias=qkv_bias)
    model.set_attn_implementation("eager")
    output = model(INPUTS, output_attentions=True)
    model.set_attn_implementation("sdpa")
    assert_equal_to(model, output.attentions, output.logits)


def test_a_vit_of_transformers_with_eager_attention():
    model = small_vit()
    model.set_attn_implementation("eager")
    output = model(INPUTS, output_attentions=True)
    assert_equal_to(model, output.attentions, output.logits)


@pytest.mark.parametrize("name", ["vit", "spt_lsa"])
def test_the_models_trained_from_scratch(name, explained):
    model, result = explained(name)
    inputs = result.explainer.preparation(result.pixels)
    output = model(inputs, output_attentions=True)
    gradients = torch.autograd.grad(output.logits[0, 2], output.attentions)
    differentiated = result.explainer(result.pixels, target=2)
    for attentions in (result.attentions, differentiated.attentions):
        torch.testing.assert_close(attentions, torch.cat(output.attentions).detach(), atol=1e-6, rtol=0)
    recorded = differentiated.gradients[2].attentions
    torch.testing.assert_close(recorded, torch.cat(gradients), atol=1e-6, rtol=1e-4)
    if name == "spt_lsa":
        assert (result.attentions.diagonal(dim1=-2, dim2=-1) == 0).all()


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "vit_relpos_small_patch16_224",
        "beit_base_patch16_224",
        "eva02_tiny_patch14_224",
        "vit_small_patch16_rope_224",
        "vit_little_patch16_reg4_gap_256",
    ],
)
def test_models_of_timm(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    size = dict(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=4, num_classes=4)
    model, attentions = timm.create_model(name, **size).eval(), []
    for key, parameter in model.named_parameters():
        if key.startswith("head") or parameter.ndim == 1:  # heads and layer scales begin near zero
            nn.init.normal_(parameter, 0.5)
    fusible = [module for module in model.modules() if hasattr(module, "fused_attn")]
    for module in fusible:
        module.fused_attn = False
        module.attn_drop.register_forward_hook(lambda _module, _inputs, weights: attentions.append(weights))
    logits = model(INPUTS)
    for module in fusible:
        module.attn_drop._forward_hooks.clear()
    assert_equal_to(model, attentions, logits)  # not fused: a softmax is recorded
    for module in fusible:
        module.fused_attn = True
    assert_equal_to(model, attentions, logits)


def test_a_vit_of_torchvision():
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 3, 4, 48, 96, num_classes=4).eval()
    nn.init.normal_(model.heads.head.weight)
    x = model.conv_proj(INPUTS).flatten(2).transpose(1, 2)
    x = torch.cat([model.class_token, x], 1) + model.encoder.pos_embedding
    attentions = []
    for block in model.encoder.layers:
        attention, y = block.self_attention, block.ln_1(x)
        qkv = F.linear(y, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, 4, 12)).permute(2, 0, 3, 1, 4)
        attentions.append((q @ k.mT / 12**0.5).softmax(-1))
        needed = attention(y, y, y, need_weights=True, average_attn_weights=False)[1]
        torch.testing.assert_close(needed, attentions[-1])
        x = x + attention.out_proj((attentions[-1] @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.ln_2(x))
    assert_equal_to(model, attentions, model.heads(model.encoder.ln(x)[:, 0]))


def test_multi_head_attention_returns_what_it_does_without_the_recorder():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 12)
    for options in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        for batch_first in (True, False):
            attention = nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()
            expected = attention(x, x, x, **options)
            with torch.no_grad(), AttentionRecorder() as recorder:
                output = attention(x, x, x, **options)
            torch.testing.assert_close(output, expected)
            assert len(recorder.weights) == 1
        with torch.no_grad(), AttentionRecorder() as recorder:  # attention to other tokens
            torch.testing.assert_close(attention(x, x + 1, x, **options), attention(x, x + 1, x, **options))
        assert recorder.weights == []


@pytest.mark.parametrize("kind", ["bool", "float", "head"])
def test_masks_and_scales_of_scaled_dot_product_attention(kind):
    q, k, v = torch.randn(3, 2, 3, 5, 4)
    masks = {"bool": torch.eye(5) > 0, "float": torch.randn(5, 5), "head": torch.randn(1, 3, 5, 5)}
    options = dict(attn_mask=masks[kind], scale=0.7)
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    with torch.no_grad(), AttentionRecorder() as recorder:
        output = F.scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(recorder.weights[0] @ v, expected)


def test_causal_attention_of_text_is_not_recorded():
    q, k, v = torch.randn(3, 2, 3, 5, 4)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    with AttentionRecorder() as recorder:
        torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, is_causal=True), expected)
    assert recorder.weights == []


def test_other_threads_are_not_recorded():
    model = small_vit()
    with torch.no_grad(), AttentionRecorder() as recorder, ThreadPoolExecutor(1) as pool:
        pool.submit(model, INPUTS).result()
        assert recorder.weights == []
        model(INPUTS)
    assert len(recorder.weights) == 3
    with torch.no_grad():
        model(INPUTS)
    assert len(recorder.weights) == 3, "nothing is recorded after the block"


def test_the_graph_begins_where_it_is_asked_to():
    model = small_vit()
    with torch.no_grad(), AttentionRecorder(gradients_from=1) as recorder:
        logits = model(INPUTS).logits
    assert [weights.requires_grad for weights in recorder.weights] == [False, True, True]
    assert recorder.weights[1].is_leaf
    torch.autograd.grad(logits[0, 0], recorder.weights[1:])
    assert torch.is_grad_enabled()


def test_attention_beyond_the_limit_is_not_recorded_and_cams_stay(monkeypatch):
    model = small_vit()
    monkeypatch.setattr(attention_recorder, "MAX_VALUES", 2 * 2 * 17**2)  # two of the three layers
    explainer = Explainer(model)
    assert "takes more than" in explainer.why_not("rollout")
    result = explainer(INPUTS)
    torch.testing.assert_close(result.logits, model(INPUTS).logits[0].detach())
    assert result.attentions is None
    assert result.heatmap("grad_cam").shape == (4, 4)


def test_a_larger_image_than_usual_can_be_too_large(monkeypatch):
    explainer = Explainer(
        timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, dynamic_img_size=True)
    )
    assert explainer(torch.zeros(1, 3, 32, 32)).attentions.shape == (2, 3, 5, 5)
    monkeypatch.setattr(attention_recorder, "MAX_VALUES", 1000)
    result = explainer(torch.zeros(1, 3, 64, 96))
    assert result.attentions is None
    with pytest.raises(MedvitError, match="takes more than"):
        result.heatmap("rollout")
    assert result.heatmap("grad_cam").shape == (4, 6)
    assert explainer(torch.zeros(1, 3, 32, 32)).heatmap("rollout").shape == (2, 2)


def test_images_whose_attention_is_large_are_run_a_few_at_a_time(monkeypatch):
    instance = Explainer(small_vit())
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    together = instance.many(pixels)
    monkeypatch.setattr(explainer, "BATCH_VALUES", 2 * instance.structure().attention_values)
    for alone, batched in zip(instance.many(pixels), together, strict=True):
        torch.testing.assert_close(alone.attentions, batched.attentions)
        torch.testing.assert_close(alone.logits, batched.logits)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"dim": -1}, 1), ({"dim": 3}, 1), ({"dim": 1}, 0), ({"dim": -2}, 0)],
)
def test_a_softmax_is_attention_over_its_last_dimension_only(options, expected):
    scores = torch.randn(1, 2, 5, 5)
    for softmax in (torch.softmax, F.softmax):
        with torch.no_grad(), AttentionRecorder() as recorder:
            output = softmax(input=scores, **options)
        torch.testing.assert_close(output, torch.softmax(scores, **options))
        assert len(recorder.weights) == expected
