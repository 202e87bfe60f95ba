"""Models of any make, pictures of any kind, threads; the model itself stays as it is."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from peft import LoraConfig
from PIL import Image
from torch import nn
from torchvision.models import resnet18
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.transforms._presets import ImageClassification
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    SiglipConfig,
    SiglipForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTImageProcessor,
)

import medvit
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import METHODS, Explainer
from medvit.imaging import to_tensor

from .conftest import PlainViT, small_vit, without_normalisation

ATTENTION_METHODS = {name for name, method in METHODS.items() if method.needs_attention}
PICTURE = Image.fromarray(synthetic.draw("bloodmnist", 0)).resize((50, 40))
SMALL = dict(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
SMALL |= dict(intermediate_size=64, num_labels=5)


def make(kind):
    """A small model of transformers with random weights."""
    torch.manual_seed(0)
    if kind == "deit":
        return DeiTForImageClassificationWithTeacher(DeiTConfig(**SMALL)).eval()
    if kind == "dinov2 with registers":
        return Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**SMALL)).eval()
    if kind == "beit":
        return BeitForImageClassification(BeitConfig(**SMALL, use_relative_position_bias=True)).eval()
    vision = {key: value for key, value in SMALL.items() if key != "num_labels"}
    return SiglipForImageClassification(SiglipConfig(vision_config=vision, num_labels=5)).eval()


@pytest.mark.parametrize(
    ("kind", "prefix", "read", "patches"),
    [
        ("deit", 2, (0, 1), False),
        ("dinov2 with registers", 5, (0,), True),
        ("beit", 1, (), True),
        ("siglip", 0, (), True),
    ],
)
@pytest.mark.parametrize("rescale_factor", [1 / 255, 1 / 127.5])
def test_a_model_of_ones_own_is_explained_from_its_folder(
    kind, prefix, read, patches, rescale_factor, tmp_path
):
    model, mean, std = make(kind), [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    model.save_pretrained(tmp_path)
    size = {"height": 32, "width": 32}
    processor = ViTImageProcessor(size=size, image_mean=mean, image_std=std, rescale_factor=rescale_factor)
    processor.save_pretrained(tmp_path)
    result = medvit.Explainer(tmp_path)(PICTURE)
    inputs = ViTImageProcessor.from_pretrained(tmp_path)(PICTURE, return_tensors="pt").pixel_values
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(inputs, output_attentions=True)
    torch.testing.assert_close(result.logits, expected.logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.attentions, torch.cat(expected.attentions), atol=1e-5, rtol=0)
    assert result.attentions.shape[-1] == 16 + prefix
    structure = result.explainer.structure()
    assert (structure.prefix_tokens, structure.reads_patches) == (read, patches)
    assert result.readout.sum().item() == pytest.approx(1)
    assert (result.readout[len(read) : prefix] == 0).all(), "registers are not read"
    assert result.picture.shape == (32, 32, 3)
    assert np.abs(result.picture - np.asarray(PICTURE.resize((32, 32))).astype(int)).mean() < 20
    droppable = set() if kind == "beit" else {"token_occlusion"}  # its attention has a bias by position
    assert set(result.explainer.methods()) == set(METHODS) - {"token_occlusion"} | droppable
    for method in result.explainer.methods():
        values = result.heatmap(method)
        assert values.shape == (4, 4)
        assert np.ptp(values) > 0, method


def test_windowed_attention_is_refused_and_other_maps_are_kept():
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2])
    config.window_size = 4
    result = Explainer(SwinForImageClassification(config), without_normalisation())(PICTURE)
    assert result.attentions is None
    assert set(result.explainer.methods()) == set(METHODS) - ATTENTION_METHODS
    with pytest.raises(MedvitError, match="SwinForImageClassification do not all span the whole image"):
        result.heatmap("rollout")
    assert result.heatmap("grad_cam").shape == (4, 4)
    assert result.heatmap("occlusion").ndim == 2


def test_a_vit_of_torchvision_with_its_transform():
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 3, 4, 48, 96, num_classes=4)
    nn.init.normal_(model.heads.head.weight)
    transform = ImageClassification(crop_size=32, resize_size=36)
    result = Explainer(model, transform)(PICTURE)
    with torch.no_grad():
        expected = model.eval()(transform(PICTURE)[None])[0]
    torch.testing.assert_close(result.logits, expected, atol=1e-4, rtol=1e-4)
    assert result.attentions.shape == (3, 4, 17, 17)
    for method in METHODS:
        assert np.ptp(result.heatmap(method, 2)) > 0, method


def test_a_convolutional_network_has_cams_and_occlusion():
    torch.manual_seed(0)
    result = Explainer(resnet18(num_classes=3), without_normalisation(64))(PICTURE)
    assert set(result.explainer.methods()) == set(METHODS) - ATTENTION_METHODS
    for method in result.explainer.methods():
        assert np.ptp(result.heatmap(method)) > 0, method


def test_a_model_of_timm_brings_its_preprocessing():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=4)
    nn.init.normal_(model.head.weight)
    result = medvit.Explainer(model)(PICTURE)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model.eval()(transform(PICTURE)[None])[0]
    torch.testing.assert_close(result.logits, expected, atol=1e-4, rtol=1e-4)
    assert result.heatmap("relevance", 1).shape == (14, 14)
    assert result.overlay("relevance", 1).size == (336, 336)


def test_a_model_of_timm_that_was_built_for_another_size_gets_pictures_of_that_size():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=4)
    result = Explainer(model)(PICTURE)
    assert result.picture.shape == (64, 64, 3)
    assert result.heatmap("rollout").shape == (4, 4)


def test_attention_that_is_computed_in_two_ways_is_refused_in_a_sentence():
    """CaiT mixes the heads after an explicit softmax, and its class token attends in layers of its own."""
    timm = pytest.importorskip("timm")
    explainer = Explainer(timm.create_model("cait_xxs24_224", depth=1, num_classes=3))
    assert "rollout" not in explainer.methods()
    assert explainer.why_not("rollout").endswith(
        "Cait computes attention in two ways, so its layers cannot be followed one to the next."
    )
    with pytest.raises(MedvitError, match="two ways"):
        explainer(PICTURE).heatmap("relevance")
    assert explainer(PICTURE).heatmap("grad_cam").shape == (14, 14)


def test_attention_between_channels_is_not_taken_for_attention_between_patches():
    timm = pytest.importorskip("timm")
    explainer = Explainer(timm.create_model("xcit_nano_12_p16_224", num_classes=3))
    assert not explainer.has_attention


def test_why_a_map_does_not_fit_is_told_for_each_map():
    timm = pytest.importorskip("timm")
    explainer = Explainer(timm.create_model("beit_base_patch16_224", depth=1, num_classes=3))
    assert explainer.why_not("rollout") == ""
    assert "Beit uses positions" in explainer.why_not("token_occlusion")


def test_a_prepared_tensor_a_picture_and_pixels_give_the_same():
    explainer = Explainer(small_vit(), ViTImageProcessor(size={"height": 32, "width": 32}))
    pixels = to_tensor(np.asarray(PICTURE.resize((32, 32)))[None])
    prepared = (pixels / 255 - 0.5) / 0.5
    results = [explainer(image) for image in (PICTURE.resize((32, 32)), pixels, prepared)]
    for result in results[1:]:
        torch.testing.assert_close(result.logits, results[0].logits, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(result.heatmap("occlusion"), results[0].heatmap("occlusion"), atol=1e-5)
        np.testing.assert_array_equal(result.picture, results[0].picture)


def test_a_picture_for_a_model_without_preprocessing_is_refused():
    explainer = Explainer(small_vit())
    with pytest.raises(MedvitError, match="preprocess="):
        explainer(PICTURE)
    assert explainer(torch.randn(1, 3, 32, 32)).heatmap("rollout").shape == (4, 4)
    with pytest.raises(MedvitError, match="shape"):
        explainer(torch.randn(3, 32, 32))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_class_is_given_by_its_name_or_index():
    model = small_vit(id2label=dict(enumerate(["cat", "dog", "hat", "7"])))
    result = Explainer(model, without_normalisation())(PICTURE, target="dog")
    assert list(result.gradients) == [1]
    for name, index in (("dog", 1), ("3", 3), ("7", 3), (np.int64(2), 2)):
        np.testing.assert_array_equal(result.heatmap("grad_cam", name), result.heatmap("grad_cam", index))
    for wrong in ("flu", "4", 4, -2, [1, 2], np.array([1, 2]), float("nan"), 1.5):
        with pytest.raises(MedvitError, match=r"There is no class '?(flu|4|-2|\[1, 2\]|\[1 2\]|nan|1.5)"):
            result.heatmap("rollout", wrong)
    for predicted in (None, -1, np.array(-1), torch.tensor(-1)):
        differentiated = [] if predicted is None else [result.top]
        assert list(result.explainer(PICTURE, target=predicted).gradients) == differentiated
        np.testing.assert_array_equal(
            result.heatmap("grad_cam", predicted), result.heatmap("grad_cam", result.top)
        )
    with pytest.raises(MedvitError, match="There is no class"):
        result.explainer(PICTURE, target=np.array([1, 2]))
    with pytest.raises(MedvitError, match="The classes are 0 to 3: cat, dog, hat, 7"):
        result.explainer(PICTURE, target="flu")


def test_it_works_inside_inference_mode():
    model = small_vit()
    with torch.inference_mode():
        inside = Explainer(model, without_normalisation())(PICTURE).heatmap("relevance")
    outside = Explainer(model, without_normalisation())(PICTURE).heatmap("relevance")
    np.testing.assert_allclose(inside, outside, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_not_changed(dtype, training):
    model = small_vit().to(dtype).train(training)
    model.vit.layers[0].requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    implementation = model.config._attn_implementation
    result = Explainer(model, without_normalisation())(PICTURE, target=1)
    for method in METHODS:
        assert result.heatmap(method, 1).dtype == np.float32
    assert result.logits.dtype == torch.float32
    assert hooks(model) == 0
    assert model.training == training
    assert model.config._attn_implementation == implementation
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
        assert parameter.dtype == dtype
        assert parameter.requires_grad == (not name.startswith("vit.layers.0."))


def test_a_model_that_was_put_into_training_mode_since_is_refused():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten(), torch.nn.Linear(64, 3)
    ).eval()
    explainer = Explainer(model)
    explainer(torch.zeros(1, 3, 32, 32))
    model.train()
    with pytest.raises(MedvitError, match="was put into training mode after"):
        explainer(torch.zeros(1, 3, 32, 32))


def test_integer_logits_are_refused_and_no_image_gives_nothing():
    class Integers(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3)).long()

    with pytest.raises(MedvitError, match="so it is no image classifier"):
        Explainer(Integers().eval())(torch.zeros(1, 3, 32, 32))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten(), torch.nn.Linear(64, 3)
    ).eval()
    assert Explainer(model).many(torch.zeros(0, 3, 32, 32)) == []


def test_an_adapter_in_a_layer_is_not_lost():
    model, inputs = small_vit(), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        without = model(inputs).logits[0]
    model.add_adapter(LoraConfig(target_modules=["q_proj"], r=2, lora_alpha=64, init_lora_weights=False))
    with torch.no_grad():
        expected = model.eval()(inputs).logits[0]
    assert not torch.allclose(expected, without, atol=1e-3)
    torch.testing.assert_close(Explainer(model)(inputs).logits, expected, atol=1e-5, rtol=0)


def test_several_images_at_once_are_as_one_by_one(explained):
    _, result = explained("spt_lsa")
    pixels = torch.cat([result.pixels, result.pixels.flip(-1)])
    several = result.explainer.many(pixels)
    for each, alone in zip(several, pixels.split(1), strict=True):
        expected = result.explainer(alone)
        torch.testing.assert_close(each.logits, expected.logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(each.attentions, expected.attentions, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(each.features, expected.features, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(each.heatmap("rollout"), expected.heatmap("rollout"), atol=1e-6)
    probs = result.explainer.predict(pixels, batch_size=1)
    torch.testing.assert_close(probs[0], result.probabilities, atol=1e-5, rtol=1e-5)


def test_a_map_is_a_copy_that_may_be_changed():
    result = Explainer(small_vit())(torch.rand(1, 3, 32, 32))
    before = result.attentions.clone()
    for options in ({"method": "rollout"}, {"method": "attention", "head": 0, "patch": 3}):
        values = result.heatmap(**options)
        expected = values.copy()
        values[:] = -1
        np.testing.assert_array_equal(result.heatmap(**options), expected)
    assert torch.equal(result.attentions, before)


def test_a_copy_is_made_outside_inference_mode_and_maps_are_those_without_autocast():
    inputs = torch.rand(1, 3, 32, 32)
    expected = Explainer(small_vit())(inputs)
    with torch.inference_mode():
        inside = Explainer(small_vit().train())(inputs).heatmap("relevance", 1)
    np.testing.assert_allclose(inside, expected.heatmap("relevance", 1), atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = Explainer(small_vit())(inputs)
        for method in METHODS:
            np.testing.assert_allclose(mixed.heatmap(method, 1), expected.heatmap(method, 1), atol=1e-6)


def test_a_model_that_cannot_be_copied_is_refused_in_a_sentence():
    model = small_vit().train()
    model.kept = model(torch.rand(1, 3, 32, 32)).logits
    with pytest.raises(MedvitError, match=r"Call model\.eval\(\) first"):
        Explainer(model)


def test_a_model_that_was_compiled_in_place_is_explained():
    model, inputs = PlainViT(), torch.rand(1, 3, 32, 32)
    model.compile(backend="eager")
    result = Explainer(model)(inputs)
    expected = Explainer(PlainViT())(inputs).heatmap("relevance", 1)
    np.testing.assert_allclose(result.heatmap("relevance", 1), expected, atol=1e-6)


def test_a_model_whose_blocks_were_compiled_is_explained():
    torch.manual_seed(0)
    model, inputs = PlainViT(), torch.rand(1, 3, 32, 32)
    expected = Explainer(model)(inputs).heatmap("relevance", 1)
    model.encoder.layers = nn.ModuleList(
        torch.compile(layer, backend="eager") for layer in model.encoder.layers
    )
    result = Explainer(model)(inputs)
    np.testing.assert_allclose(result.heatmap("relevance", 1), expected, atol=1e-6)
    assert hasattr(model.encoder.layers[0], "_orig_mod")  # the model is not changed


def test_what_the_model_refuses_and_unknown_maps_and_options_are_one_sentence():
    explainer = Explainer(PlainViT())
    with pytest.raises(MedvitError, match=r"cannot be run: .* It was tried at 224 x 224 pixels, as it has"):
        explainer.methods()
    with pytest.raises(MedvitError, match="The model PlainViT cannot be run: The size of tensor a"):
        explainer(torch.rand(1, 3, 64, 64))
    result = explainer(torch.rand(1, 3, 32, 32))
    for call in (explainer.why_not, explainer.is_signed, result.heatmap):
        with pytest.raises(MedvitError, match="There is no map 'rolout'"):
            call("rolout")
    for options in (
        {"layer": "last"},
        {"layer": True},
        {"layer": None},
        {"patch": 1.5},
        {"discard_ratio": "0.5"},
    ):
        with pytest.raises(MedvitError, match=f"{next(iter(options))} is a (whole )?number, not "):
            result.heatmap("attention", **options)


def test_two_threads_do_not_mix_their_maps(explained):
    explainer = explained("spt_lsa")[1].explainer
    pictures = [to_tensor(synthetic.draw("bloodmnist", i)[None]) for i in range(8)]

    def maps(pixels):
        result = explainer(pixels)
        return np.stack(
            [result.heatmap(name, 1) for name in ("attention", "relevance", "grad_cam", "rollout")]
        )

    alone = [maps(pixels) for pixels in pictures]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(maps, pictures))
    for expected, values in zip(alone, together, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_cam_needs_one_pass_and_the_attention_is_there_as_well(explained):
    _, result = explained("vit")
    explainer = result.explainer
    in_one = explainer(result.pixels, target=2, attentions=False)
    assert in_one.gradients[2].attentions is None
    torch.testing.assert_close(in_one.attentions, result.attentions)
    np.testing.assert_allclose(in_one.heatmap("grad_cam", 2), result.heatmap("grad_cam", 2), atol=1e-6)
    np.testing.assert_allclose(in_one.heatmap("relevance", 2), result.heatmap("relevance", 2), atol=1e-6)


def test_gradients_with_the_prediction_are_those_computed_afterwards(explained):
    _, result = explained("vit")
    together = result.explainer(result.pixels, target=-1)
    assert list(together.gradients) == [result.top]
    expected = result.heatmap("relevance")
    np.testing.assert_allclose(together.heatmap("relevance"), expected, rtol=1e-3)
    np.testing.assert_array_equal(result.heatmap("relevance", target=-1), expected)
