import numpy as np
import pytest
import torch

from medvit import explain, models, phantoms, subsets
from medvit.errors import MedvitError
from medvit.explain.attention import attention_map
from medvit.explain.rollout import rollout
from medvit.images import to_tensor

BLOOD = subsets.get("bloodmnist")


def case(name, backbone):
    """A model in evaluation mode, one preprocessed image, and its attentions."""
    torch.manual_seed(0)
    model, preprocessing = models.build(name, BLOOD, str(backbone))
    model.eval()
    if name == "vit_finetuned":
        model.set_attn_implementation("eager")
    pixels = preprocessing(to_tensor(phantoms.draw("bloodmnist", 0)[None]))
    if not explain.has_attention(model):
        return model, pixels, None
    with torch.no_grad():
        return model, pixels, torch.cat(model(pixel_values=pixels, output_attentions=True).attentions)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_on_every_model_it_fits(name, method, backbone):
    model, pixels, attentions = case(name, backbone)
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    if method not in explain.methods_for(model):
        with pytest.raises(MedvitError, match="needs a model with attention"):
            explain.heatmap(model, pixels, attentions, method)
        return
    # A CAM is cut at zero, so one class may have none; never all of them.
    maps = [explain.heatmap(model, pixels, attentions, method, target=target) for target in range(8)]
    values = max(maps, key=np.ptp)
    assert values.shape == (values.shape[0],) * 2
    assert (values.min(), values.max()) == (0, 1)
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", models.NAMES)
def test_grad_cam_depends_on_the_class(name, backbone):
    model, pixels, attentions = case(name, backbone)
    maps = [explain.heatmap(model, pixels, attentions, "grad_cam", target=target) for target in range(8)]
    assert any(np.abs(maps[0] - other).max() > 0.05 for other in maps[1:])


def test_rollout_is_the_product_of_renormalised_layers():
    generator = torch.Generator().manual_seed(0)
    attentions = torch.rand(4, 3, 10, 10, generator=generator).softmax(-1)
    flow = np.eye(10)
    for layer in attentions.double().numpy():
        mixed = layer.mean(0) + np.eye(10)
        flow = (mixed / mixed.sum(1, keepdims=True)) @ flow
    np.testing.assert_allclose(rollout(attentions).numpy().ravel(), flow[0, 1:], atol=1e-6)


def test_the_attention_map_is_the_row_of_the_class_token():
    attentions = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(attention_map(attentions, 1, 2), attentions[1, 2, 0, 1:].view(2, 2))
    torch.testing.assert_close(attention_map(attentions, 0), attentions[0, :, 0, 1:].mean(0).view(2, 2))


@pytest.mark.parametrize(("layer", "head"), [(2, None), (-3, None), (0, 3)])
def test_a_layer_or_head_that_is_not_there_is_refused(layer, head):
    with pytest.raises(MedvitError, match="There is no"):
        attention_map(torch.rand(2, 3, 5, 5), layer, head)


def test_an_unknown_method_names_the_known_ones(backbone):
    model, pixels, attentions = case("cnn", backbone)
    with pytest.raises(MedvitError, match="attention, rollout, grad_cam"):
        explain.heatmap(model, pixels, attentions, "lime")


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [(0, 0, "upper left"), (6, 6, "lower right"), (3, 3, "centre"), (3, 6, "right part")],
)
def test_a_map_is_described_by_where_its_mass_lies(row, column, words):
    values = np.zeros((7, 7))
    values[row, column] = 1
    assert words in explain.describe(values)
    assert "2% of the image" in explain.describe(values)
    assert "flat" in explain.describe(np.zeros((7, 7)))
