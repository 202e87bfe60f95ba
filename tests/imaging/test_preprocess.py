"""From an RGB image to the source image, and to model input."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor

from medvit import imaging
from medvit.data import as_rgb, synthetic
from medvit.errors import MedvitError
from medvit.imaging.preprocess import UPSCALING_FILTERS


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)


@pytest.mark.parametrize("grey", [False, True])
def test_a_source_image_saved_as_png_comes_back_unchanged(noise, grey):
    source = noise[..., 0] if grey else noise
    buffer = io.BytesIO()
    Image.fromarray(source).save(buffer, "PNG")
    result = imaging.to_source(imaging.open_image(buffer.getvalue()), grey=grey)
    np.testing.assert_array_equal(result, as_rgb(source))


def test_the_centre_square_is_taken():
    wide = np.zeros((28, 84, 3), np.uint8)
    wide[:, 28:56] = 200
    np.testing.assert_array_equal(imaging.to_source(Image.fromarray(wide)), np.full((28, 28, 3), 200))


@pytest.mark.parametrize("resampling", UPSCALING_FILTERS, ids=lambda r: r.name)
@pytest.mark.parametrize("side", [224, 100, 56])
@pytest.mark.parametrize("grey", [False, True])
def test_an_upscaled_image_gives_the_original_back(resampling, side, grey):
    original = synthetic.draw("breastmnist" if grey else "bloodmnist", 4)
    large = Image.fromarray(original).resize((side, side), resampling)
    result = imaging.to_source(large, grey=grey).astype(int)
    assert np.abs(result - original).mean() < 0.7


def test_a_detailed_image_is_downscaled_as_medmnist_was():
    detailed = Image.effect_noise((300, 300), 80).convert("RGB")
    expected = np.asarray(detailed.resize((28, 28), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(imaging.to_source(detailed), expected)


@pytest.mark.parametrize("side", [225, 226, 256, 290])
def test_a_smooth_image_a_little_larger_than_the_source_is_downscaled(side):
    blobs = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC)
    expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(imaging.to_source(image, 224), expected)


def test_a_single_pixel_fills_the_image():
    assert (imaging.to_source(Image.new("RGB", (1, 1), (9, 8, 7))) == [9, 8, 7]).all()


@pytest.mark.parametrize("rescale_factor", [1 / 255, 1 / 127.5, 1.0])
def test_preprocessing_equals_the_transformers_processor_of_the_saved_file(tmp_path, rescale_factor):
    scale = 255 * rescale_factor
    mean, std = ((np.array(values) * scale).tolist() for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    preprocessing = imaging.Preprocessing(56, tuple(mean), tuple(std), rescale_factor)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessing.to_json()))
    processor = ViTImageProcessor.from_pretrained(tmp_path)
    image = synthetic.draw("bloodmnist", 0)
    expected = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    result = preprocessing(imaging.to_tensor(image[None]))
    # The processor rounds to 8 bits, and clips, after each of its two resampling passes.
    assert (result - expected).abs().mean() < 1 / 255 / 0.2
    torch.testing.assert_close(result, expected, atol=6 / 255 / 0.2, rtol=0)


def test_the_rescale_factor_cancels_with_mean_and_std():
    pixels = torch.rand(2, 3, 28, 28) * 255
    usual = imaging.Preprocessing(28, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    doubled = imaging.Preprocessing(28, (1.0, 0.8, 0.6), (0.4, 0.6, 0.8), 2 / 255)
    torch.testing.assert_close(doubled(pixels), usual(pixels))


def read(folder: Path, text: str) -> imaging.Preprocessing:
    """The preprocessing in a preprocessor_config.json with this text."""
    path = folder / "preprocessor_config.json"
    path.write_text(text)
    return imaging.Preprocessing.read(path)


def test_preprocessing_is_saved_and_read_as_json(tmp_path):
    for factor in (1 / 255, 0.5):
        preprocessing = imaging.Preprocessing(112, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), factor)
        assert read(tmp_path, json.dumps(preprocessing.to_json())) == preprocessing


def test_without_rescaling_in_the_file_the_factor_is_one(tmp_path):
    content = imaging.Preprocessing(28).to_json() | {"do_rescale": False}
    assert read(tmp_path, json.dumps(content)).rescale_factor == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"size": -1, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}',
        '{"size": 28, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "rescale_factor": 0}',
    ],
)
def test_an_unusable_preprocessing_file_is_refused(text, tmp_path):
    with pytest.raises(MedvitError, match="preprocessor_config"):
        read(tmp_path, text)
