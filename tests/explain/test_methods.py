from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from peft import LoraConfig
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from medvit import explain, models
from medvit.data import medmnist, synthetic
from medvit.errors import MedvitError
from medvit.explain import MapOptions, faithfulness
from medvit.explain.occlusion import blur, erase
from medvit.explain.relevance import propagate
from medvit.explain.rollout import follow, fuse
from medvit.imaging.preprocess import to_tensor
from medvit.models.attention import recording

BLOOD = medmnist.get("bloodmnist")
BY_CLASS = [name for name, one in explain.METHODS.items() if one.by_class]


def case(name, backbone, subset=BLOOD):
    """A model in evaluation mode, its explainer, and one image as it sees it."""
    torch.manual_seed(0)
    model, preprocessing = models.build(name, subset, str(backbone))
    explainer = explain.Explainer(model.eval(), preprocessing)
    return model, explainer, explainer(to_tensor(synthetic.draw("bloodmnist", 0)[None]))


class Logits(torch.nn.Module):
    """pytorch-grad-cam wants a module that returns a tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values=pixel_values).logits


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_on_every_model_it_fits(name, method, backbone):
    model, explainer, seen = case(name, backbone)
    if method not in explain.methods_for(explainer):
        with pytest.raises(MedvitError, match="needs a model with attention"):
            explain.heatmap(explainer, seen, method)
        return
    for target in range(8):
        values = explain.heatmap(explainer, seen, method, MapOptions(target))
        assert values.ndim == 2
        assert np.isfinite(values).all()
        assert np.ptp(values) > 0, "a map that shows nothing"
        assert explain.METHODS[method].signed or values.min() >= 0
    assert hooks(model) == 0, "the model itself is never hooked"
    assert not explainer.model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("method", BY_CLASS)
def test_a_map_for_a_class_depends_on_the_class(name, method, backbone):
    _, explainer, seen = case(name, backbone)
    if method in explain.methods_for(explainer):
        maps = [explain.scale(explain.heatmap(explainer, seen, method, MapOptions(c))) for c in range(8)]
        assert any(np.abs(maps[0] - other).max() > 0.05 for other in maps[1:])


def test_a_multi_label_model_is_explained_class_by_class(backbone):
    _, explainer, seen = case("spt_lsa", backbone, medmnist.get("chestmnist"))
    each_alone = explainer.probabilities(seen.logits)
    torch.testing.assert_close(each_alone, seen.logits.sigmoid())
    maps = [explain.heatmap(explainer, seen, "relevance", MapOptions(target)) for target in (0, 13)]
    assert np.abs(maps[0] - maps[1]).max() > 0


def hugging_face(kind, folder):
    """A small model of another make, with its processor, as a folder."""
    torch.manual_seed(0)
    small = dict(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
    small |= dict(intermediate_size=64, num_labels=5)
    if kind == "deit":
        model = DeiTForImageClassificationWithTeacher(DeiTConfig(**small))
    else:
        model = Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**small))
    model.save_pretrained(folder)
    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=mean, image_std=std).save_pretrained(
        folder
    )
    return model


@pytest.mark.parametrize(("kind", "others"), [("deit", 2), ("dinov2 with registers", 5)])
def test_a_model_of_ones_own_is_explained_from_its_folder(kind, others, tmp_path):
    model = hugging_face(kind, tmp_path)
    explainer = explain.load(tmp_path)
    picture = Image.fromarray(synthetic.draw("bloodmnist", 0)).resize((50, 40))
    seen = explainer(picture)
    processor = ViTImageProcessor.from_pretrained(tmp_path)
    inputs = processor(picture, return_tensors="pt").pixel_values
    model.eval().set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(pixel_values=inputs, output_attentions=True)
    torch.testing.assert_close(seen.logits, expected.logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.attentions, torch.cat(expected.attentions), atol=1e-5, rtol=0)
    assert seen.attentions.shape[-1] == 16 + others
    assert seen.picture.shape == (32, 32, 3)
    for method in explain.METHODS:
        values = explain.heatmap(explainer, seen, method)
        assert values.shape == (4, 4)
        assert np.ptp(values) > 0


def test_a_model_without_a_class_token_is_refused():
    model = SwinForImageClassification(
        SwinConfig(image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4)
    )
    explainer = explain.Explainer(model, lambda pixels: pixels / 255)
    with pytest.raises(MedvitError, match="swin model"):
        explainer(torch.rand(1, 3, 32, 32) * 255)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(MedvitError, match="cannot be loaded"):
        explain.load(tmp_path)


@pytest.mark.parametrize("name", ["vit", "spt_lsa", "vit_finetuned"])
def test_recorded_attention_is_that_of_the_plain_computation(name, backbone):
    _, explainer, seen = case(name, backbone)
    differentiated = explainer(seen.pixels, target=-1)
    torch.testing.assert_close(differentiated.attentions, seen.attentions, atol=1e-5, rtol=0)
    torch.testing.assert_close(differentiated.logits, seen.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.attentions.sum(-1), torch.ones(seen.attentions.shape[:-1]))
    if name == "spt_lsa":
        assert (seen.attentions.diagonal(dim1=-2, dim2=-1) == 0).all()


def small_vit(qkv_bias=True):
    torch.manual_seed(0)
    config = ViTConfig(image_size=32, patch_size=8, hidden_size=24, intermediate_size=48, qkv_bias=qkv_bias)
    config.update({"num_hidden_layers": 3, "num_attention_heads": 2, "num_labels": 4})
    return ViTForImageClassification(config).eval()


def test_an_adapter_in_a_layer_is_not_lost():
    model = small_vit()
    pixels = torch.rand(1, 3, 32, 32) * 255
    with torch.no_grad():
        without = model(pixel_values=pixels / 255).logits[0]
    model.add_adapter(LoraConfig(target_modules=["q_proj"], r=2, lora_alpha=64, init_lora_weights=False))
    model.eval()
    with torch.no_grad():
        expected = model(pixel_values=pixels / 255).logits[0]
    assert not torch.allclose(expected, without, atol=1e-3)
    seen = explain.Explainer(model, prepare=lambda pixels: pixels / 255)(pixels)
    torch.testing.assert_close(seen.logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_hugging_face_vit_answers_attends_and_differentiates_as_its_own_code_does(qkv_bias):
    model = small_vit(qkv_bias)
    explainer = explain.Explainer(model, prepare=lambda pixels: pixels / 255)
    pixels = torch.rand(2, 3, 32, 32) * 255
    seen = explainer(pixels[:1], target=1)
    model.set_attn_implementation("eager")
    output = model(pixel_values=pixels / 255, output_attentions=True)
    gradients = torch.autograd.grad(output.logits[0, 1], output.attentions)
    torch.testing.assert_close(seen.logits, output.logits[0].detach(), atol=1e-5, rtol=0)
    attentions = torch.stack(output.attentions).detach()  # (layers, B, heads, T, T)
    torch.testing.assert_close(seen.attentions, attentions[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        seen.gradients[1].attentions, torch.stack(gradients)[:, 0], atol=1e-6, rtol=1e-4
    )
    for one, by_itself in zip(explainer.many(pixels), output.logits, strict=True):
        torch.testing.assert_close(one.logits, by_itself.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["vit", "spt_lsa", "vit_finetuned"])
def test_gradients_are_those_of_a_small_step(name, backbone):
    """Adding epsilon to one attention weight changes the logit by its gradient times epsilon."""
    _, explainer, seen = case(name, backbone)
    explainer.model.double()
    prepare = explainer.prepare
    explainer.prepare = lambda pixels: prepare(pixels).double()
    seen = explainer(seen.pixels, target=2)
    gradient = seen.gradients[2].attentions
    layer, head, token, other = 1, 1, 0, 3
    logits = []
    for step in (1e-4, -1e-4):

        def bump(weights, step=step):
            changed = weights.clone()
            changed[0, head, token, other] += step
            return changed

        with recording(with_gradients=True) as record:
            record.weights = Bumped(layer, bump)
            logits.append(explainer.model(pixel_values=explainer.prepare(seen.pixels)).logits[0, 2].item())
    assert (logits[0] - logits[1]) / 2e-4 == pytest.approx(
        gradient[layer, head, token, other].item(), rel=1e-3
    )


class Bumped(list):
    """A record that changes, in place, the attention weights of one layer when they are kept."""

    def __init__(self, layer, change):
        super().__init__()
        self.layer, self.change = layer, change

    def append(self, weights):
        if len(self) == self.layer:
            weights.copy_(self.change(weights))
        super().append(weights)


def test_the_attention_map_is_the_row_of_the_token(backbone):
    _, explainer, seen = case("spt_lsa", backbone)
    head = explain.heatmap(explainer, seen, "attention", MapOptions(0, layer=1, head=2))
    np.testing.assert_array_equal(head.ravel(), seen.attentions[1, 2, 0, 1:].numpy())
    every = explain.heatmap(explainer, seen, "attention", MapOptions(0, layer=0))
    np.testing.assert_allclose(every.ravel(), seen.attentions[0, :, 0, 1:].mean(0).numpy())
    patch = explain.heatmap(explainer, seen, "attention", MapOptions(0, layer=3, head=0, patch=10))
    np.testing.assert_array_equal(patch.ravel(), seen.attentions[3, 0, 11, 1:].numpy())
    assert patch.ravel()[10] == 0, "locality self-attention leaves a token's own out"


@pytest.mark.parametrize(
    "choice",
    [
        MapOptions(0, layer=9),
        MapOptions(0, layer=-10),
        MapOptions(0, head=12),
        MapOptions(0, patch=49),
        MapOptions(8),
        MapOptions(-1),
    ],
)
def test_what_is_not_there_is_refused(choice, backbone):
    _, explainer, seen = case("vit", backbone)
    with pytest.raises(MedvitError, match="There is no"):
        explain.heatmap(explainer, seen, "attention", choice)


def test_an_unknown_method_names_the_known_ones(backbone):
    _, explainer, seen = case("cnn", backbone)
    with pytest.raises(MedvitError, match="attention, rollout, gradient_rollout"):
        explain.heatmap(explainer, seen, "lime")


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_is_the_product_of_renormalised_layers(fusion):
    attentions = torch.rand(4, 3, 10, 10, generator=torch.Generator().manual_seed(0)).softmax(-1)
    flow = np.eye(10)
    for layer in attentions.double().numpy():
        mixed = getattr(layer, fusion)(0) + np.eye(10)
        flow = (mixed / mixed.sum(1, keepdims=True)) @ flow
    np.testing.assert_allclose(follow(fuse(attentions, fusion)).numpy(), flow[0], atol=1e-6)


def test_rollout_drops_the_weakest_attention():
    layers = torch.tensor([[[0.1, 0.9], [0.6, 0.4]]])
    kept = torch.tensor([1.0, 0.9])  # of the first token; 0.1, of the weaker half, is gone, itself added
    torch.testing.assert_close(follow(layers, discard=0.5), kept / kept.sum())


def test_relevance_follows_the_published_rule():
    generator = torch.Generator().manual_seed(0)
    attentions, gradients = torch.randn(2, 3, 2, 5, 5, generator=generator)
    expected = np.eye(5)
    for weights, gradient in zip(attentions.double().numpy(), gradients.double().numpy(), strict=True):
        expected = expected + np.maximum(weights * gradient, 0).mean(0) @ expected
    np.testing.assert_allclose(propagate(attentions, gradients).numpy(), expected[0], atol=1e-5)


@pytest.mark.parametrize("name", ["vit_finetuned", "cnn"])
def test_grad_cam_is_that_of_the_library(name, backbone):
    model, explainer, seen = case(name, backbone)
    inputs = explainer.prepare(seen.pixels)
    if name == "cnn":
        layer, reshape = model.blocks[-1], None
    else:
        layer = model.vit.layers[-1].layernorm_before
        reshape = lambda x: x[:, 1:].reshape(-1, 4, 4, x.shape[-1]).permute(0, 3, 1, 2)  # noqa: E731
    with GradCAM(Logits(model), [layer], reshape_transform=reshape) as library:
        expected = [library(inputs, [ClassifierOutputTarget(c)])[0] for c in range(8)]
    ours = [explain.heatmap(explainer, seen, "grad_cam", MapOptions(c)) for c in range(8)]
    compared = 0
    for one, other in zip(ours, expected, strict=True):
        if other.max() > 0:  # the library's map is empty where nothing speaks for the class
            shown = scale_cam_image(scale_cam_image(one[None]), inputs.shape[-2:])[0]  # as the library does
            np.testing.assert_allclose(scale_cam_image(shown[None])[0], other, atol=1e-3)
            compared += 1
    assert compared >= 2


def test_two_threads_never_see_each_others_maps(backbone):
    _, explainer, _ = case("spt_lsa", backbone)
    pictures = [to_tensor(synthetic.draw("bloodmnist", i)[None]) for i in range(8)]

    def look(pixels):
        seen = explainer(pixels)
        names = ("attention", "relevance", "grad_cam", "rollout")
        return [explain.heatmap(explainer, seen, name, MapOptions(1)) for name in names]

    alone = [look(pixels) for pixels in pictures]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(look, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(np.stack(one), np.stack(other), atol=1e-5)
    assert np.abs(np.stack(alone[0]) - np.stack(alone[1])).max() > 1e-3


class Corner(torch.nn.Module):
    """Says class 1 as surely as the upper left patch is bright; nothing else matters."""

    def __init__(self):
        super().__init__()
        self.config = models.cnn.CnnConfig()
        self.weight = torch.nn.Parameter(torch.arange(4.0))

    def forward(self, pixel_values):
        bright = pixel_values[:, :, :4, :4].mean((1, 2, 3)) * 10
        return type("Output", (), {"logits": torch.stack([-bright, bright], -1)})


def corner():
    explainer = explain.Explainer(Corner(), lambda pixels: pixels / 255)
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[:, :, :4, :4] = 255
    return explainer, explainer(pixels)


def test_occlusion_finds_the_patch_that_matters():
    explainer, seen = corner()
    values = explain.heatmap(explainer, seen, "occlusion", MapOptions(1))
    assert values.shape == (7, 7)
    assert values.argmax() == 0
    assert values[0, 0] > 10 * np.abs(values.ravel()[1:]).max()
    np.testing.assert_allclose(
        explain.heatmap(explainer, seen, "occlusion", MapOptions(0)), -values, atol=1e-5
    )


def test_deletion_and_insertion_tell_a_true_map_from_a_false_one():
    explainer, seen = corner()
    true = np.zeros((7, 7), np.float32)
    true[0, 0] = 1
    good, bad = faithfulness.curves(explainer, seen, [true, 1 - true], 1)
    assert good.deletion[0] == bad.deletion[0] == pytest.approx(good.insertion[-1])
    areas, worse = good.areas(), bad.areas()
    assert areas["deletion"] < areas["random_deletion"] < worse["deletion"]
    assert areas["insertion"] > areas["random_insertion"] > worse["insertion"]
    assert faithfulness.road(explainer, seen, true, 1) > 0.2 > faithfulness.road(explainer, seen, 1 - true, 1)


def test_erasing_changes_the_chosen_cells_alone():
    pixels = torch.rand(1, 3, 28, 28) * 255
    cells = torch.zeros(1, 7, 7, dtype=torch.bool)
    cells[0, 2, 3] = True
    erased = erase(pixels, cells)
    changed = (erased != pixels).any(1)[0]
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[8:12, 12:16] = True
    assert torch.equal(changed, expected)
    torch.testing.assert_close(blur(torch.full((1, 3, 28, 28), 7.0)), torch.full((1, 3, 28, 28), 7.0))


def test_shuffled_weights_are_the_same_numbers_elsewhere(backbone):
    model, explainer, _ = case("spt_lsa", backbone)
    other = faithfulness.shuffled(explainer)
    for name, weight in explainer.model.named_parameters():
        mixed = other.model.get_parameter(name)
        torch.testing.assert_close(mixed.flatten().sort().values, weight.flatten().sort().values)
    assert not torch.equal(other.model.blocks[0].attention.qkv.weight, model.blocks[0].attention.qkv.weight)


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


def test_scaling_keeps_the_sign_where_it_means_something():
    values = np.array([[-1.0, 0.0], [0.5, 2.0]])
    np.testing.assert_allclose(explain.scale(values), [[0, 1 / 3], [0.5, 1]])
    np.testing.assert_allclose(explain.scale(values, signed=True), [[-0.5, 0], [0.25, 1]])
