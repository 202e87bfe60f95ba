import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor

from medvit import imaging
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.imaging.preprocess import UPSCALING_FILTERS


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)


def test_a_source_image_saved_as_png_comes_back_unchanged(picture):
    opened = imaging.open_image(encoded(Image.fromarray(picture)))
    np.testing.assert_array_equal(imaging.to_source(opened), picture)


def test_a_grey_source_image_comes_back_unchanged(picture):
    grey = picture[..., 0]
    opened = imaging.open_image(encoded(Image.fromarray(grey)))
    np.testing.assert_array_equal(imaging.to_source(opened, grey=True), np.repeat(grey[..., None], 3, axis=2))


def test_the_centre_square_is_taken():
    wide = np.zeros((28, 84, 3), np.uint8)
    wide[:, 28:56] = 200
    np.testing.assert_array_equal(imaging.to_source(Image.fromarray(wide)), np.full((28, 28, 3), 200))


@pytest.mark.parametrize("resampling", UPSCALING_FILTERS, ids=lambda r: r.name)
@pytest.mark.parametrize("side", [224, 100])
@pytest.mark.parametrize("grey", [False, True])
def test_an_enlarged_image_gives_its_original_back(resampling, side, grey):
    original = synthetic.draw("breastmnist" if grey else "bloodmnist", 4)
    large = Image.fromarray(original).resize((side, side), resampling)
    result = imaging.to_source(large, grey=grey).astype(int)
    assert np.abs(result - original).mean() < 0.7


def test_a_picture_with_detail_is_shrunk_as_medmnist_was():
    detailed = Image.effect_noise((300, 300), 80).convert("RGB")
    expected = np.asarray(detailed.resize((28, 28), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(imaging.to_source(detailed), expected)


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert imaging.open_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_palette_transparency_is_laid_on_white():
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([10, 20, 30] * 256)
    assert imaging.open_image(encoded(clear, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    opened = np.asarray(imaging.open_image(encoded(Image.fromarray(ramp))))
    np.testing.assert_array_equal(opened[..., 0].ravel(), np.arange(256))


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[274] = 6
    assert imaging.open_image(encoded(image, "JPEG", exif=exif)).size == (10, 20)


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert imaging.open_image(data).getpixel((0, 0)) == (255, 0, 0)


def test_cmyk_becomes_rgb():
    assert imaging.open_image(encoded(Image.new("CMYK", (8, 8)), "JPEG")).mode == "RGB"


def test_a_single_pixel_fills_the_image():
    opened = imaging.open_image(encoded(Image.new("RGB", (1, 1), (9, 8, 7))))
    assert (imaging.to_source(opened) == [9, 8, 7]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "YCbCr", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    assert imaging.open_image(Image.new(mode, (9, 5))).mode == "RGB"


@pytest.mark.parametrize("kind", imaging.FORMATS)
def test_every_readable_format_is_read(kind):
    assert imaging.open_image(encoded(Image.new("RGB", (9, 5), "teal"), kind)).size == (9, 5)


@pytest.mark.parametrize("kind", imaging.FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_works_or_gets_one_sentence(picture, kind, share):
    data = encoded(Image.fromarray(picture).resize((300, 300)), kind)
    try:
        assert imaging.open_image(data[: int(len(data) * share)]).size == (300, 300)
    except MedvitError as error:
        assert str(error).endswith(".")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.mark.parametrize("data", [b"", b"hello", SVG, EPS, b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(MedvitError):
        imaging.open_image(data)


def test_a_format_off_the_list_is_refused_whatever_its_name(tmp_path, picture):
    path = tmp_path / "innocent.png"
    path.write_bytes(encoded(Image.fromarray(picture), "PPM"))
    with pytest.raises(MedvitError, match="Readable"):
        imaging.open_image(path)


def test_a_huge_picture_is_refused_before_it_is_decoded():
    data = encoded(Image.new("1", (20_000, 20_000)))
    assert len(data) < 1_000_000
    with pytest.raises(MedvitError, match="million"):
        imaging.open_image(data)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(MedvitError, match="not a file"):
            imaging.open_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MedvitError, match=r"absent\.png"):
        imaging.open_image(tmp_path / "absent.png")


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_an_array_that_is_no_image_is_refused(array):
    with pytest.raises(MedvitError, match="uint8"):
        imaging.open_image(array)


def test_preprocessing_is_what_the_saved_file_tells_transformers(tmp_path):
    picture = synthetic.draw("bloodmnist", 0)
    ours = imaging.Preprocessing(56, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(ours.to_json()))
    theirs = ViTImageProcessor.from_pretrained(tmp_path)
    expected = theirs(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    result = ours(imaging.to_tensor(picture[None]))
    # Theirs rounds to 8 bits, and cuts overshoot off, after each of its two passes.
    assert (result - expected).abs().mean() < 1 / 255 / 0.2
    torch.testing.assert_close(result, expected, atol=6 / 255 / 0.2, rtol=0)


def test_preprocessing_survives_the_way_through_json():
    ours = imaging.Preprocessing(112, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert imaging.Preprocessing.from_json(json.dumps(ours.to_json())) == ours


@pytest.mark.parametrize("text", ["", "{}", '{"size": -1, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}'])
def test_an_unusable_preprocessing_file_is_refused(text):
    with pytest.raises(MedvitError, match="preprocessor_config"):
        imaging.Preprocessing.from_json(text)
