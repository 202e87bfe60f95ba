"""What counts as an image, and what is refused in one sentence."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Grayscale, Resize, ToTensor
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPImageProcessor,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTImageProcessor,
)

from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import Explainer

from .conftest import PlainViT, small_vit, without_normalisation

PIXELS = synthetic.draw("bloodmnist", 0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "F"])
def test_pictures_of_any_mode(mode):
    explainer = Explainer(small_vit(), without_normalisation())
    grey = Image.fromarray(PIXELS).convert("L")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = (grey if mode == "F" else Image.fromarray(PIXELS)).convert(mode)
    result = explainer(picture)
    assert result.picture.shape == (32, 32, 3)
    if mode in ("L", "I;16", "F"):
        expected = explainer(grey).picture.astype(int)
        assert np.abs(result.picture - expected).max() <= 1


def test_the_orientation_of_a_photograph_is_applied():
    explainer = Explainer(small_vit(), without_normalisation())
    picture = Image.fromarray(PIXELS)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(explainer(file.getvalue()).picture, explainer(np.rot90(PIXELS, -1)).picture)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ([PIXELS, PIXELS], "not list; several are explained one by one"),
        (None, "not NoneType"),
        (torch.zeros(2, 3, 32, 32), r"the shape \(1, 3, H, W\), not \(2, 3, 32, 32\)"),
        (torch.zeros(3, 32, 32), r"not \(3, 32, 32\)"),
        (PIXELS / 255, "must be uint8"),
        (torch.full((1, 3, 32, 32), float("nan")), "not finite numbers"),
        ("no such file.png", "cannot be opened"),
        ("a\0.png", "cannot be opened"),
        (Image.new("RGB", (0, 20)), "no pixels"),
        (b"", "not an image"),
    ],
)
def test_what_is_no_image_is_one_sentence(image, problem):
    with pytest.raises(MedvitError, match=problem):
        Explainer(small_vit(), without_normalisation())(image)


def to_input(picture):
    return torch.from_numpy(np.asarray(picture.resize((32, 32)), np.float32)).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("preprocess", "problem"),
    [
        (lambda picture: to_input(picture)[None], r"it gives a tensor \(1, 3, 32, 32\)"),
        (lambda picture: {"pixel_values": to_input(picture)}, "it gives dict"),
        (lambda picture: to_input(picture).numpy(), "it gives ndarray"),
        ("imagenet", "preprocess cannot prepare a picture"),
    ],
)
def test_a_function_that_does_not_make_an_input_is_refused_in_a_sentence(preprocess, problem):
    with pytest.raises(MedvitError, match=problem):
        Explainer(small_vit(), preprocess)


def test_the_processor_of_a_model_of_timm_in_transformers_is_its_transform(tmp_path):
    timm = pytest.importorskip("timm")
    config = timm.create_model("vit_tiny_patch16_224", depth=1).pretrained_cfg
    config = TimmWrapperConfig.from_dict(
        {
            "architecture": "vit_tiny_patch16_224",
            "model_args": {"depth": 1},
            "num_classes": 5,
            "label_names": list("abcde"),
            "pretrained_cfg": {
                key: config[key] for key in ("input_size", "interpolation", "crop_pct", "mean", "std")
            },
        }
    )
    model = TimmWrapperForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    picture = Image.fromarray(PIXELS)
    expected = processor(picture, return_tensors="pt")["pixel_values"]
    opened = AutoModelForImageClassification.from_pretrained(tmp_path)
    for explainer in (Explainer(model, processor), Explainer(opened)):
        inputs = explainer.preparation(explainer(picture).pixels)
        torch.testing.assert_close(inputs, expected, atol=1e-4, rtol=0)


class LinearEmbedding(nn.Module):
    """Patches of 8 x 8 grey values to tokens, without a convolution."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(64, 32)

    def forward(self, images):
        return self.project(nn.functional.unfold(images, 8, stride=8).mT).mT


@pytest.mark.parametrize(("shortest_edge", "crops"), [(32, False), (36, True)])
def test_a_centre_crop_of_the_processor_is_told(shortest_edge, crops):
    processor = CLIPImageProcessor(size={"shortest_edge": shortest_edge}, crop_size=dict(height=32, width=32))
    assert Explainer(small_vit(), processor).preparation.crops() is crops


def test_the_image_processor_beside_a_tokenizer_prepares_the_pictures():
    image_processor = ViTImageProcessor(size={"height": 32, "width": 32})
    explainers = (
        Explainer(small_vit(), processor)
        for processor in (image_processor, SimpleNamespace(image_processor=image_processor, tokenizer=None))
    )
    first, second = (explainer(PIXELS).logits for explainer in explainers)
    assert torch.equal(first, second)


def grey_model(kind):
    """A model for grey pictures, with its preprocessing."""
    if kind == "a linear patch embedding":
        model = PlainViT()
        model.embed = LinearEmbedding()
        return model, Compose([Grayscale(), Resize((32, 32)), ToTensor()])
    if kind != "timm":
        resize = Compose([Grayscale(), Resize((32, 32)), ToTensor()])
        return small_vit(num_channels=1), resize if kind == "a function" else without_normalisation()
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, in_chans=1, num_classes=4), None


@pytest.mark.parametrize("kind", ["transformers", "timm", "a function", "a linear patch embedding"])
def test_a_model_of_one_channel_gets_grey_inputs(kind):
    explainer = Explainer(*grey_model(kind))
    result = explainer(PIXELS)
    size = explainer.preparation.input_size
    inputs = explainer.preparation(result.pixels)
    assert inputs.shape == (1, 1, *size)
    if kind.startswith("a "):
        expected = grey_model(kind)[1](Image.fromarray(PIXELS))[None]
        torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(explainer(inputs).logits, result.logits, atol=1e-5, rtol=1e-4)
    assert result.overlay().size == (336, 336)
    assert {result.heatmap(method).shape for method in explainer.methods()} == {(4, 4)}
