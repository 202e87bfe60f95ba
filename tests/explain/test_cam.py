import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget


class Logits(torch.nn.Module):
    """The model with its logits as the output, as pytorch-grad-cam needs it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).logits


@pytest.mark.parametrize("name", ["vit_finetuned", "cnn"])
@pytest.mark.parametrize(
    ("method", "library"), [("grad_cam", GradCAM), ("hires_cam", HiResCAM), ("layer_cam", LayerCAM)]
)
def test_cams_are_those_of_the_library(name, method, library, explained):
    model, result = explained(name)
    inputs = result.explainer.preparation(result.pixels)
    if name == "cnn":
        layer, reshape = model.blocks[-1], None
    else:
        layer = model.vit.layers[-1].layernorm_before
        reshape = lambda x: x[:, 1:].reshape(-1, 4, 4, x.shape[-1]).permute(0, 3, 1, 2)  # noqa: E731
    with library(Logits(model), [layer], reshape_transform=reshape) as cam:
        expected = [cam(inputs, [ClassifierOutputTarget(target)])[0] for target in range(8)]
    compared = 0
    for target, reference in enumerate(expected):
        if reference.max() > 0:  # the library's map is empty where nothing speaks for the class
            values = result.heatmap(method, target)
            enlarged = scale_cam_image(
                scale_cam_image(values[None]), inputs.shape[-2:]
            )  # as the library does
            np.testing.assert_allclose(scale_cam_image(enlarged)[0], reference, atol=1e-3)
            compared += 1
    assert compared >= 2


def test_a_cam_differentiates_only_what_follows_its_layer(explained):
    _, result = explained("vit")
    result.heatmap("grad_cam", 1)
    assert result.gradients[1].attentions is None
    cam = result.gradients[1].cam_gradients
    result.heatmap("relevance", 1)
    assert result.gradients[1].attentions.shape == result.attentions.shape
    torch.testing.assert_close(result.gradients[1].cam_gradients, cam)


def test_a_cam_alone_records_no_attention_until_it_is_asked_for(explained):
    _, result = explained("vit_finetuned")
    explainer = result.explainer
    alone, whole = (explainer(result.pixels, target=0, attentions=wanted) for wanted in (False, True))
    assert alone.recorded is None
    assert alone.grid == whole.grid
    np.testing.assert_allclose(alone.heatmap("grad_cam", 0), whole.heatmap("grad_cam", 0), atol=1e-5)
    torch.testing.assert_close(alone.readout, whole.readout)
    torch.testing.assert_close(alone.attentions, whole.attentions)
    np.testing.assert_allclose(alone.heatmap("relevance", 0), whole.heatmap("relevance", 0), atol=1e-5)
