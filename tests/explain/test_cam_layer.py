"""The layer of a class activation map in models without attention over all patches."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from medvit import models
from medvit.data import medmnist
from medvit.explain import Explainer
from medvit.explain.cam_layer import last_layer_of_patches
from medvit.explain.patch_grid import as_map


def name_of(model, module):
    return next((name for name, other in model.named_modules() if other is module), None)


@pytest.mark.parametrize(
    ("name", "layer", "grid"),
    [
        ("resnet18", "layer4", (7, 7)),  # behind the residual connection
        ("nf_seresnet26", "final_act", (7, 7)),  # convolves with weights that no module owns
        ("levit_128s", "stages", (4, 4)),  # its only convolutions are in the stem
        ("mobilevit_xxs", "final_conv", (8, 8)),  # its tokens are of a quarter of the image
        ("nest_tiny", "norm", (14, 14)),
        ("swin_tiny_patch4_window7_224", "norm", (7, 7)),  # channels last
        ("cait_xxs24_224", "blocks_token_only.1.norm1", (14, 14)),  # reads the class token alone
    ],
)
def test_it_is_the_last_with_a_value_for_each_patch_that_the_classifier_reads(name, layer, grid):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4).eval()
    explainer = Explainer(model)
    assert name_of(model, explainer.structure().cam_layer) == layer
    result = explainer(torch.randn(1, 3, *explainer.preparation.input_size))
    heatmap = result.heatmap("grad_cam")
    assert heatmap.shape == grid
    assert np.isfinite(heatmap).all()
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["Swin", "Swinv2"])
def test_pooled_channels_are_no_tokens(kind):
    """1,024 channels of a Swin-Base could be a map of 32 x 32."""
    config = getattr(transformers, f"{kind}Config")(
        embed_dim=32, depths=[1, 1], num_heads=[2, 4], num_labels=3, image_size=64
    )
    assert config.hidden_size == 64
    model = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    explainer = Explainer(model)
    assert explainer(torch.randn(1, 3, 64, 64)).heatmap("grad_cam").shape == (8, 8)
    name = name_of(model, explainer.structure(torch.randn(1, 3, 64, 64)).cam_layer)
    assert name == f"{kind.lower()}.layernorm"


def test_of_medvits_cnn_it_is_the_last_block():
    model, _ = models.build("cnn", medmnist.get("breastmnist"), width=4)
    layer = last_layer_of_patches(model, lambda x: model(x).logits, torch.randn(1, 3, 28, 28))
    assert name_of(model, layer) == "blocks"


def test_a_classifier_of_zeros_has_the_last_layer():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.zeros_(model[-1].weight)
    assert last_layer_of_patches(model, model, torch.randn(1, 3, 16, 16)) is model[1]


class WithUnusedOutputs(nn.Module):
    """Runs a module whose output it does not read, and one that gives integers, after its features."""

    def __init__(self):
        super().__init__()
        self.features, self.unused = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 1)
        self.unused.requires_grad_(False)
        self.integers = nn.ReLU()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        features = self.features(x)
        self.unused(features)
        self.integers((features > 0).long())
        return self.head(features.mean((2, 3)))


def test_outputs_that_are_not_read_are_passed_over():
    model = WithUnusedOutputs()
    assert last_layer_of_patches(model, model, torch.randn(1, 3, 16, 16)) is model.features


def test_a_model_without_patches_has_none():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    assert last_layer_of_patches(model, model, torch.randn(1, 3, 4, 4)) is None


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 8, 4, 4), (16, 16), (1, 8, 4, 4)),
        ((1, 4, 4, 8), (16, 16), (1, 8, 4, 4)),
        ((1, 8, 2, 4), (16, 32), (1, 8, 2, 4)),
        ((1, 8, 10, 7), (300, 200), (1, 8, 10, 7)),
        ((1, 17, 8), (16, 16), (1, 8, 4, 4)),
        ((1, 8, 4, 2), (16, 32), None),  # the wrong way around
        ((1, 8, 1, 1), (16, 16), None),  # pooled
        ((1, 1, 8), (16, 16), None),  # the class token
        ((4, 8, 4, 4), (16, 16), None),  # windows
        ((1, 8), (16, 16), None),
    ],
)
def test_what_is_laid_out_as_a_map(shape, size, expected):
    result = as_map(torch.zeros(shape), nn.Identity(), size)
    assert (None if result is None else tuple(result.shape)) == expected
