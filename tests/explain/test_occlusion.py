import numpy as np
import torch

from medvit.explain import Explainer
from medvit.explain.occlusion import blur, mask_cells

from .conftest import without_normalisation


class Corner(torch.nn.Module):
    """The logit of class 1 grows with the brightness of the upper left patch; nothing else matters."""

    def forward(self, images):
        bright = images[:, :, :4, :4].mean((1, 2, 3)) * 10
        return torch.stack([-bright, bright], -1)


def explained_corner():
    """The forward pass of an image with a bright upper left patch."""
    pixels = torch.zeros(1, 3, 28, 28, dtype=torch.uint8)
    pixels[:, :, :4, :4] = 255
    return Explainer(Corner(), without_normalisation(28))(pixels)


def test_occlusion_finds_the_patch_that_matters():
    result = explained_corner()
    values = result.heatmap("occlusion", 1)
    assert values.shape == (7, 7)
    assert values.argmax() == 0
    assert values[0, 0] > 10 * np.abs(values.ravel()[1:]).max()
    np.testing.assert_allclose(result.heatmap("occlusion", 0), -values, atol=1e-5)


def test_masking_changes_the_chosen_cells_alone():
    pixels = torch.rand(1, 3, 28, 28) * 255
    cells = torch.zeros(1, 7, 7, dtype=torch.bool)
    cells[0, 2, 3] = True
    changed = (mask_cells(pixels, cells) != pixels).any(1)[0]
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[8:12, 12:16] = True
    assert torch.equal(changed, expected)
    torch.testing.assert_close(blur(torch.full((1, 3, 28, 28), 7.0)), torch.full((1, 3, 28, 28), 7.0))
