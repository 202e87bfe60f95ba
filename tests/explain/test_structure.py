"""Inputs that are not square: the grid of patches has their proportions."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medvit.data import synthetic
from medvit.explain import Explainer
from medvit.explain.patch_grid import patch_grid

from .conftest import small_vit

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
