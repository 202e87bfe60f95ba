"""DICOM files become 8-bit RGB images, or are refused without repeating anything from the file."""

import io
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvit import imaging, limits
from medvit.errors import MedvitError
from medvit.memory import LargeImageLock

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
PIXEL_DATA = struct.pack("<HH2s", 0x7FE0, 0x10, b"OB")
TEST_FILES = [path for path in Path(pydicom.__file__).parent.glob("data/test_files/**/*") if path.is_file()]


def dicom(pixels: np.ndarray, interpretation: str = "MONOCHROME2", syntax: str = EXPLICIT, **fields) -> bytes:
    """A DICOM file of pixels uint8, uint16 or int16, (H, W) or (H, W, 3)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.PatientName = "Nobody^Secret"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    for name, value in fields.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def opened(*args, **fields) -> np.ndarray:
    return np.asarray(imaging.open_image(dicom(*args, **fields)))


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_grey_is_read_and_monochrome1_is_inverted():
    np.testing.assert_array_equal(opened(RAMP)[..., 0], RAMP)
    np.testing.assert_array_equal(opened(RAMP, "MONOCHROME1")[..., 0], 255 - RAMP)


def test_the_window_is_applied_after_the_rescale():
    stored = (np.arange(256, dtype=np.int16) * 8).reshape(16, 16)
    grey = opened(stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)[..., 0]
    hounsfield = stored.astype(float) - 1024
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(grey, expected, atol=1)
    assert (grey[hounsfield < -160] == 0).all()
    assert (grey[hounsfield > 240] == 255).all()


def test_sixteen_bits_without_a_window_fill_the_range():
    stored = (np.arange(256, dtype=np.uint16) * 200).reshape(16, 16)
    np.testing.assert_allclose(opened(stored)[..., 0], RAMP, atol=1)


def voi_table(values: np.ndarray) -> pydicom.Sequence:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [len(values), 0, 16], values.astype(np.uint16).tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    return pydicom.Sequence([table])


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 40, "WindowWidth": 400}])
def test_a_table_of_grey_values_is_applied(window):
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    falling = np.linspace(65535, 0, 256)
    np.testing.assert_allclose(
        opened(stored, VOILUTSequence=voi_table(falling), **window)[..., 0], 255 - RAMP, atol=1
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"VOILUTSequence": pydicom.Sequence()},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowWidth": 400},
    ],
    ids=["empty table", "empty window", "no centre"],
)
def test_an_empty_window_or_table_is_none(fields):
    stored = (np.arange(256, dtype=np.uint16) * 200).reshape(16, 16)
    np.testing.assert_allclose(opened(stored, **fields)[..., 0], RAMP, atol=1)


def test_a_wide_range_of_signed_values_without_a_window():
    stored = np.linspace(-30000, 30000, 256).astype(np.int16).reshape(16, 16)
    np.testing.assert_allclose(opened(stored)[..., 0], RAMP, atol=1)


def test_padding_does_not_count_for_the_range():
    stored = (np.arange(256, dtype=np.int16) * 8).reshape(16, 16)
    stored[0, 0] = -32768
    grey = opened(stored, PixelPaddingValue=-32768)[..., 0]
    np.testing.assert_allclose(grey, RAMP, atol=1)


def test_colour_is_read():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(opened(pixels, "RGB"), pixels)


def test_a_palette_is_applied():
    table = dict(zip(("Red", "Green", "Blue"), ([0, 200], [10, 150], [20, 100]), strict=True))
    fields = {}
    for name, (low, high) in table.items():
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        fields[f"{name}PaletteColorLookupTableData"] = bytes([low, high] * 128)
    pixels = np.array([[0, 1], [1, 0]], np.uint8)
    answer = opened(pixels, "PALETTE COLOR", **fields)
    np.testing.assert_array_equal(answer[0, 0], [0, 10, 20])
    np.testing.assert_array_equal(answer[0, 1], [200, 150, 100])


def test_a_deflated_file_is_read():
    np.testing.assert_array_equal(opened(RAMP, syntax=DEFLATED)[..., 0], RAMP)


def test_a_deflated_bomb_is_refused_before_it_is_inflated():
    header, _ = split_deflated(dicom(RAMP, syntax=DEFLATED))
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = header + deflater.compress(bytes(limits.DICOM_BYTES + limits.MB)) + deflater.flush()
    assert len(bomb) < limits.MB
    with pytest.raises(MedvitError, match="inflates to more"):
        imaging.open_image(bomb)


def split_deflated(data: bytes) -> tuple[bytes, bytes]:
    """The header of a deflated file, and its inflated data set."""
    for start in range(data.index(DEFLATED.encode()) + len(DEFLATED), len(data)):
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])
        except zlib.error:
            continue
        if len(content) > 200:
            return data[:start], content
    raise AssertionError("no deflated data set")


def empty_items(count: int) -> bytes:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    return struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, len(item) * count) + item * count


def empty_elements(count: int) -> bytes:
    tags = ((0x29 + 2 * (i >> 16), i & 0xFFFF) for i in range(count))
    return b"".join(struct.pack("<HH2sH", group, element, b"CS", 0) for group, element in tags)


@pytest.mark.parametrize("parts", [empty_items(150_000), empty_elements(150_000)], ids=["items", "elements"])
@pytest.mark.parametrize("deflated", [False, True])
def test_a_file_of_many_empty_parts_is_refused(parts, deflated):
    header, content = b"", dicom(RAMP)
    if deflated:
        header, content = split_deflated(dicom(RAMP, syntax=DEFLATED))
    place = content.index(PIXEL_DATA)
    data = content[:place] + parts + content[place:]
    if deflated:
        deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    with pytest.raises(MedvitError, match="too many parts|too large to be valid"):
        imaging.open_image(header + data)


def test_size_is_checked_before_pixels_are_decoded():
    with pytest.raises(MedvitError, match="million"):
        imaging.open_image(dicom(RAMP, Rows=60_000, Columns=60_000))


def test_a_compressed_image_of_another_size_is_refused():
    buffer = io.BytesIO()
    Image.new("L", (300, 300)).save(buffer, "JPEG")
    frame = pydicom.encaps.encapsulate([buffer.getvalue()])
    data = dicom(RAMP, syntax=JPEG, PixelData=frame)
    with pytest.raises(MedvitError, match="contradicts itself"):
        imaging.open_image(data)


def test_several_frames_are_refused():
    with pytest.raises(MedvitError, match="2 frames"):
        imaging.open_image(dicom(RAMP, NumberOfFrames=2))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_every_file_of_pydicom_is_opened_or_refused_with_one_sentence(path):
    try:
        assert imaging.open_image(path).mode == "RGB"
    except MedvitError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)


def test_no_data_of_the_patient_are_kept_or_printed(capfd, caplog):
    path = next(path for path in TEST_FILES if path.name == "CT_small.dcm")
    fields = pydicom.dcmread(path)
    names = ("PatientName", "PatientID", "StudyDate", "InstitutionName")
    private = {text for name in names if len(text := str(fields.get(name))) > 3}
    assert "CompressedSamples^CT1" in private
    image = imaging.open_image(path)
    with pytest.raises(MedvitError) as refused:
        imaging.open_image(path.read_bytes()[:-20_000])
    texts = [image.info, vars(image), caplog.text, refused.value]
    for text in (*map(str, texts), *capfd.readouterr()):
        assert not any(value in text for value in private)


def test_without_pydicom_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MedvitError, match="pip install pydicom"):
        imaging.open_image(bytes(128) + b"DICM" + bytes(100))


@pytest.mark.parametrize(("syntax", "pixels"), [(EXPLICIT, 16 * 16 - 1), (DEFLATED, 16 * 16)])
def test_large_and_deflated_files_wait_for_each_other(monkeypatch, syntax, pixels):
    monkeypatch.setattr(limits, "LARGE_IMAGE_PIXELS", pixels)
    data = dicom(RAMP, syntax=syntax)
    with ThreadPoolExecutor(1) as pool:
        with LargeImageLock() as lock:
            lock.acquire()
            waiting = pool.submit(imaging.read_source, data, 16)
            assert not wait([waiting], 0.2).done
        np.testing.assert_array_equal(waiting.result()[..., 0], RAMP)
