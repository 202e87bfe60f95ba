"""Inputs that are not square: the grid of patches has their proportions."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn

from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import METHODS, Explainer
from medvit.explain.patch_grid import patch_grid

from .conftest import PlainViT, small_vit, without_normalisation

PICTURE = Image.fromarray(synthetic.draw("bloodmnist", 0)).resize((50, 40))


@pytest.mark.parametrize("size", [(64, 128), (96, 32)])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "eva02_tiny_patch14_224"])
def test_a_model_of_timm_for_inputs_that_are_not_square(name, size):
    timm = pytest.importorskip("timm")
    size = (size[0] * 7 // 8, size[1] * 7 // 8) if "patch14" in name else size
    model = timm.create_model(name, img_size=size, depth=1, num_classes=4).eval()
    result = Explainer(model)(PICTURE)
    grid = tuple(model.patch_embed.grid_size)
    assert result.picture.shape == (*size, 3)
    assert grid[0] * size[1] == grid[1] * size[0]
    assert {result.heatmap(method).shape for method in result.explainer.methods()} == {grid}
    assert result.overlay().size == (336 * size[1] // max(size), 336 * size[0] // max(size))


def test_a_model_of_transformers_for_inputs_that_are_not_square():
    model = small_vit(image_size=[16, 40])
    inputs = torch.randn(1, 3, 16, 40)
    result = Explainer(model)(inputs)
    model.set_attn_implementation("eager")
    expected = model(inputs, output_attentions=True).attentions[-1][0, :, 0, 1:].mean(0).view(2, 5)
    np.testing.assert_allclose(result.heatmap("attention"), expected.detach().numpy(), atol=1e-6)
    assert result.heatmap("occlusion").shape == result.heatmap("grad_cam").shape == (2, 5)
    assert result.overlay().size == (336, 134)


@pytest.mark.parametrize(
    ("size", "tokens", "grid"),
    [
        ((224, 224), 196, (14, 14)),
        ((224, 224), 197, (14, 14)),
        ((64, 128), 33, (4, 8)),
        ((128, 64), 34, (8, 4)),
        ((96, 64), 24, (6, 4)),
        ((64, 128), 43, None),
        ((64, 65), 17, None),
    ],
)
def test_without_a_patch_size_the_grid_has_the_proportions_of_the_input(size, tokens, grid):
    assert patch_grid(nn.Identity(), size, tokens) == grid


INPUTS = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_dwee_patch16_reg1_gap_256", {}),
        ("vit_small_patch16_18x2_224", {"embed_dim": 48, "num_heads": 4}),
    ],
)
def test_attention_that_is_called_several_times_in_a_block_is_refused_in_a_sentence(name, options):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, img_size=32, depth=2, num_classes=4, pretrained=False, **options)
    explainer = Explainer(model)
    result = explainer(INPUTS)
    assert result.attentions is None
    assert "several times in a block" in explainer.why_not("rollout")
    with pytest.raises(MedvitError, match="so its layers do not follow one another"):
        result.heatmap("relevance")
    assert result.heatmap("grad_cam").shape == (2, 2)


@pytest.mark.parametrize("kind", ["Pvt", "PvtV2"])
def test_attention_to_fewer_keys_than_queries_is_not_left_out(kind):
    """Only the last stage of these models has square attention."""
    config = getattr(transformers, f"{kind}Config")(
        image_size=64, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2]
    )
    explainer = Explainer(getattr(transformers, f"{kind}ForImageClassification")(config).eval())
    result = explainer(torch.randn(1, 3, 64, 64))
    assert result.attentions is None
    assert "Some attention layers" in explainer.why_not("rollout")
    assert np.isfinite(result.heatmap("grad_cam")).all()


def test_separable_attention_between_as_many_patches_as_pixels_is_refused():
    timm = pytest.importorskip("timm")
    explainer = Explainer(timm.create_model("mobilevitv2_050", num_classes=4, pretrained=False).eval())
    assert explainer(torch.randn(1, 3, 128, 128)).attentions is None


@pytest.mark.parametrize("extra", [1, 4])
def test_tokens_behind_the_patches_do_not_shift_the_maps(extra):
    first, last = (Explainer(PlainViT(last, extra))(INPUTS) for last in (False, True))
    torch.testing.assert_close(last.logits, first.logits, atol=1e-4, rtol=0)
    assert last.explainer.structure().first_patch == 0
    assert first.explainer.structure().first_patch == extra
    np.testing.assert_allclose(
        last.heatmap("attention", patch=5), first.heatmap("attention", patch=5), atol=1e-5
    )
    for method in METHODS:
        np.testing.assert_allclose(
            last.heatmap(method, 1), first.heatmap(method, 1), atol=1e-4, err_msg=method
        )


@pytest.mark.parametrize(("extra", "prefix_tokens", "reads_patches"), [(2, (0,), False), (0, (), True)])
def test_of_a_classifier_of_zeros_maps_start_from_the_class_token_or_the_patches(
    extra, prefix_tokens, reads_patches
):
    model = PlainViT(extra=extra)
    nn.init.zeros_(model.head.weight)
    result = Explainer(model)(INPUTS)
    structure = result.explainer.structure()
    assert (structure.prefix_tokens, structure.reads_patches) == (prefix_tokens, reads_patches)
    for method in ("attention", "rollout", "relevance"):
        assert np.isfinite(result.heatmap(method)).all()


def test_multi_head_attention_with_the_tokens_first_is_read():
    first, usual = (Explainer(PlainViT(batch_first=value))(INPUTS) for value in (False, True))
    for method in METHODS:
        np.testing.assert_allclose(
            first.heatmap(method, 1), usual.heatmap(method, 1), atol=1e-4, err_msg=method
        )


class RepeatedNorm(nn.Module):
    """A ViT whose attention gets equal tokens that are not one tensor, and a mask that masks nothing."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
        self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        nothing = torch.zeros(x.shape[:2], dtype=torch.bool)
        norm = self.norm
        x = x + self.attention(norm(x), norm(x), norm(x), key_padding_mask=nothing, need_weights=False)[0]
        return self.head(x.mean(1))


def test_multi_head_attention_of_equal_tokens_with_a_mask_of_nothing_is_read():
    model = RepeatedNorm().eval()
    tokens = model.norm(model.embed(INPUTS).flatten(2).transpose(1, 2))
    _, expected = model.attention(tokens, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(Explainer(model)(INPUTS).attentions[0], expected[0].detach())


class CutGraph(nn.Module):
    """A CNN whose features are cut from the graph, though its logits are not, as in quantised models."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 3)
        self.offset = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        logits = self.head(self.conv(x).mean((2, 3))).detach()
        return logits + self.offset * x.new_ones(1, requires_grad=torch.is_grad_enabled())


def test_logits_that_do_not_depend_on_the_features_have_no_gradients():
    explainer = Explainer(CutGraph().eval())
    assert explainer(INPUTS).heatmap().shape == (6, 6)
    assert "needs gradients" in explainer.why_not("grad_cam")
    assert explainer.best_method() == "occlusion"


def test_positions_that_are_added_to_queries_and_keys_alone():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(32, 4)
            self.positions = nn.Parameter(torch.randn(16, 1, 32))

        def forward(self, tokens):  # (T, B, 32)
            placed = tokens + self.positions
            return tokens + self.attention(placed, placed, tokens, need_weights=True)[0]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 32, 8, 8), nn.Linear(32, 4)
            self.blocks = nn.Sequential(Block(), Block())

        def forward(self, images):
            tokens = self.patches(images).flatten(2).permute(2, 0, 1)
            return self.head(self.blocks(tokens).mean(0))

    torch.manual_seed(0)
    model = Model().eval()
    result = Explainer(model, without_normalisation())(INPUTS)
    tokens, expected = model.patches(INPUTS).flatten(2).permute(2, 0, 1), []
    for block in model.blocks:
        placed = tokens + block.positions
        output, weights = block.attention(placed, placed, tokens, average_attn_weights=False)
        tokens = tokens + output
        expected.append(weights)
    torch.testing.assert_close(result.logits, model.head(tokens.mean(0))[0].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.attentions, torch.cat(expected).detach(), atol=1e-5, rtol=0)


class Block(nn.Module):
    """A block of a transformer; `kind` says how its attention is computed."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.qkv = kind, nn.Linear(32, 96)

    def forward(self, tokens):  # (B, T, 32)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        if self.kind == "in place":
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            weights *= 0.5
            return tokens + (weights @ v).transpose(1, 2).flatten(2)
        if self.kind == "reduced":
            k, v = k[:, :, ::4], v[:, :, ::4]
        grouped = self.kind == "grouped"
        if grouped:
            k, v = k[:, :2], v[:, :2]
        output = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=grouped)
        return tokens + output.transpose(1, 2).flatten(2)


class OfBlocks(nn.Module):
    def __init__(self, *kinds):
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 32, 8, 8), nn.Linear(32, 4)
        self.blocks = nn.Sequential(*map(Block, kinds))

    def forward(self, images):
        return self.head(self.blocks(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        (("plain", "grouped", "plain"), "Some attention layers of OfBlocks cannot be read"),
        (("reduced", "reduced"), "do not all span the whole image"),
    ],
)
def test_attention_that_is_read_in_part_is_refused_and_other_maps_are_kept(kinds, problem):
    explainer = Explainer(OfBlocks(*kinds).eval(), without_normalisation())
    assert "rollout" not in explainer.methods()
    assert "occlusion" in explainer.methods()
    with pytest.raises(MedvitError, match=problem):
        explainer(INPUTS).heatmap("rollout")


def test_attention_that_the_model_changes_in_place_is_read_before():
    torch.manual_seed(0)
    model = OfBlocks("in place", "in place").eval()
    result = Explainer(model, without_normalisation())(INPUTS)
    torch.testing.assert_close(result.logits, model(INPUTS)[0].detach(), atol=1e-5, rtol=0)
    sums = result.attentions.sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    assert np.isfinite(result.heatmap("relevance")).all()


def test_checkpointed_blocks_of_timm_have_the_same_maps():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4, num_classes=4)
    model = timm.create_model("vit_tiny_patch16_224", **sizes).eval()
    plain = Explainer(model, without_normalisation())(INPUTS)
    expected = {method: plain.heatmap(method, 1) for method in ("relevance", "grad_cam")}
    model.set_grad_checkpointing(True)
    result = Explainer(model, without_normalisation())(INPUTS)
    assert model.grad_checkpointing
    for method, heatmap in expected.items():
        np.testing.assert_allclose(result.heatmap(method, 1), heatmap, atol=1e-6)


def test_one_logit_is_the_probability_of_one_class():
    model = PlainViT()
    model.head = nn.Linear(32, 1)
    result = Explainer(model.eval(), without_normalisation())(INPUTS)
    torch.testing.assert_close(result.probabilities, result.logits.sigmoid())
    assert 0 < float(result.probabilities[0]) < 1
    assert np.abs(result.heatmap("occlusion")).max() > 0


class Probe(nn.Module):
    """A linear classifier of features that are computed without gradients."""

    def __init__(self, features, dim):
        super().__init__()
        self.features, self.head = features, nn.Linear(dim, 4)

    def forward(self, images):
        with torch.no_grad():
            features = self.features(images)
        return self.head(features)


def test_attention_under_inference_mode_is_refused_in_a_sentence():
    class Inference(Probe):
        def forward(self, images):
            with torch.inference_mode():
                features = self.features(images)
            return self.head(features.clone())

    vit = PlainViT()
    vit.head = nn.Identity()
    explainer = Explainer(Inference(vit, 32).eval(), without_normalisation())
    assert explainer.methods() == ("occlusion",)
    with pytest.raises(MedvitError, match=r"Inference computes attention under torch\.inference_mode"):
        explainer(INPUTS).heatmap("rollout")


def test_a_model_without_gradients_keeps_the_maps_that_need_none():
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    vit = PlainViT()
    vit.head = nn.Identity()
    for model, method, maps in (
        (Probe(cnn, 8), "occlusion", {"occlusion"}),
        (Probe(vit, 32), "rollout", {"attention", "rollout", "occlusion", "token_occlusion"}),
    ):
        explainer = Explainer(model.eval(), without_normalisation())
        assert set(explainer.methods()) == maps
        assert explainer.best_method() == method
        for name in maps:
            assert np.isfinite(explainer(INPUTS, target=1).heatmap(name)).all()
        with pytest.raises(
            MedvitError, match=r"Grad-CAM needs gradients\. Probe computes its features without"
        ):
            explainer(INPUTS).heatmap("grad_cam")


def test_the_structure_belongs_to_the_size_of_the_input():
    timm = pytest.importorskip("timm")
    options = dict(depth=2, num_classes=4, class_token=False, global_pool="avg", pretrained=False)
    options |= dict(img_size=32, patch_size=8, dynamic_img_size=True, dynamic_img_pad=True)
    explainer = Explainer(timm.create_model("vit_tiny_patch16_224", **options))
    assert explainer(INPUTS).heatmap("rollout").shape == (4, 4)
    padded = explainer(torch.randn(1, 3, 60, 88))  # padded to 64 x 88, in other proportions
    assert padded.heatmap("occlusion").shape == padded.grid
    with pytest.raises(MedvitError, match="do not all span the whole image"):
        padded.heatmap("rollout")
    assert explainer(torch.randn(1, 3, 64, 96)).heatmap("relevance").shape == (8, 12)
    assert explainer(INPUTS, attentions=False).recorded is None
    assert explainer(INPUTS, attentions=False).heatmap("rollout").shape == (4, 4)


def test_occlusion_of_a_wide_image_has_one_row():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert Explainer(model.eval())(torch.randn(1, 3, 32, 512)).heatmap("occlusion").shape == (1, 7)
