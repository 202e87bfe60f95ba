"""Every readable image becomes upright 8-bit RGB; everything else is refused with one sentence."""

import io
import os
import struct
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from PIL import Image

from medvit import imaging, limits
from medvit.errors import MedvitError
from medvit.memory import LargeImageLock


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8))


def test_transparency_is_blended_with_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert imaging.open_image(encode(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_palette_transparency_is_blended_with_white():
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([10, 20, 30] * 256)
    assert imaging.open_image(encode(clear, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    opened = np.asarray(imaging.open_image(encode(Image.fromarray(ramp))))
    np.testing.assert_array_equal(opened[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1], [0, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([0, 256, 1023], [0, 64, 255]),
        ([0, 256], [0, 64]),
        ([0, 2048, 4095], [0, 128, 255]),
        ([0, 8192, 16383], [0, 128, 255]),
        ([0, 20000], [0, 78]),
    ],
)
def test_grey_of_usual_depths_fills_the_range(values, expected):
    opened = imaging.open_image(encode(Image.fromarray(np.array([values], np.uint16))))
    assert np.asarray(opened)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1000, 0, 1000], [0, 128, 255]),
        ([-1000, -1000, -1000], [0, 0, 0]),
        ([0, 50_000, 100_000], [0, 128, 255]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_signed_and_very_large_grey_values_fill_the_range(values, expected, dtype):
    opened = imaging.open_image(encode(Image.fromarray(np.array([values], dtype)), "TIFF"))
    assert np.asarray(opened)[0, :, 0].tolist() == expected


def test_sixteen_bits_of_which_zero_is_white_are_inverted():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    data = encode(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0})
    for source in (data, Image.open(io.BytesIO(data))):
        grey = np.asarray(imaging.open_image(source))[..., 0]
        np.testing.assert_array_equal(grey.ravel(), np.arange(255, -1, -1))


def test_the_transparent_value_of_sixteen_bits_is_white():
    grey = Image.fromarray(np.array([[0, 20000, 65535]], np.uint16))
    opened = imaging.open_image(encode(grey, transparency=20000))
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 255, 255]


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[274] = 6
    assert imaging.open_image(encode(image, "JPEG", exif=exif)).size == (10, 20)


def test_exif_tags_of_another_type_are_ignored():
    data = encode(Image.new("RGB", (20, 10)), "JPEG", exif=Image.new("RGB", (1, 1)).getexif())
    tags = (
        struct.pack("<HHIHHHHI", 274, 3, 1, 6, 0, 256, 2, 2) + b"ab\0\0"
    )  # orientation 6, a width in letters
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    data = data[:2] + segment + data[2:]
    assert imaging.open_image(data).size == (10, 20)
    opened = Image.open(io.BytesIO(data))
    assert imaging.open_image(opened).size == (10, 20)
    assert (opened.size, "exif" in opened.info) == ((20, 10), True)  # the given image is not changed


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert imaging.open_image(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "YCbCr", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    assert imaging.open_image(Image.new(mode, (9, 5))).mode == "RGB"


def test_a_cmyk_file_becomes_rgb():
    assert imaging.open_image(encode(Image.new("CMYK", (8, 8)), "JPEG")).mode == "RGB"


@pytest.mark.parametrize("kind", imaging.FORMATS)
def test_every_supported_format_is_read(kind):
    assert imaging.open_image(encode(Image.new("RGB", (9, 5), "teal"), kind)).size == (9, 5)


@pytest.mark.parametrize("kind", imaging.FORMATS)
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_opened_or_refused_with_one_sentence(noise, kind, fraction):
    data = encode(noise.resize((300, 300)), kind)
    try:
        assert imaging.open_image(data[: int(len(data) * fraction)]).size == (300, 300)
    except MedvitError as error:
        assert str(error).endswith(".")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.mark.parametrize("data", [b"", b"hello", SVG, EPS, b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_other_files_are_refused(data):
    with pytest.raises(MedvitError, match="not an image|damaged"):
        imaging.open_image(data)


def test_an_unsupported_format_is_refused_whatever_its_name(tmp_path, noise):
    path = tmp_path / "innocent.png"
    path.write_bytes(encode(noise, "PPM"))
    with pytest.raises(MedvitError, match="Supported: PNG"):
        imaging.open_image(path)


def test_a_huge_image_is_refused_before_it_is_decoded():
    data = encode(Image.new("1", (20_000, 20_000)))
    assert len(data) < 1_000_000
    with pytest.raises(MedvitError, match="million"):
        imaging.open_image(data)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(21 << 20)
    for source in (path, path.read_bytes()):
        with pytest.raises(MedvitError, match="21 MB; at most 20 MB"):
            imaging.open_image(source)


def test_pipes_folders_and_devices_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(MedvitError, match="not a file"):
            imaging.open_image(path)


def test_a_picture_whose_file_is_damaged_is_refused():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    data = file.getvalue()
    with pytest.raises(MedvitError, match="damaged and cannot be decoded"):
        imaging.open_image(Image.open(io.BytesIO(data[: len(data) // 2])))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MedvitError, match=r"absent\.png"):
        imaging.open_image(tmp_path / "absent.png")


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_an_array_of_another_form_is_refused(array):
    with pytest.raises(MedvitError, match="uint8"):
        imaging.open_image(array)


def test_reading_the_source_is_decoding_and_resizing(noise):
    data = encode(noise.resize((90, 60)))
    expected = imaging.to_source(imaging.open_image(data), 32, grey=True)
    np.testing.assert_array_equal(imaging.read_source(data, 32, grey=True), expected)


def test_large_files_wait_for_each_other_and_others_do_not(noise, monkeypatch):
    monkeypatch.setattr(limits, "LARGE_IMAGE_PIXELS", 28 * 28)
    large = encode(noise.resize((29, 28)))
    with ThreadPoolExecutor(1) as pool:
        with LargeImageLock() as lock:
            lock.acquire()
            assert imaging.read_source(encode(noise)).shape == (28, 28, 3)
            waiting = pool.submit(imaging.read_source, large)
            assert not wait([waiting], 0.2).done
        assert waiting.result().shape == (28, 28, 3)
