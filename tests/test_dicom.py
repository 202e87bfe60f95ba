import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medvit
from medvit import imaging, limits
from medvit.errors import MedvitError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
TEST_FILES = [path for path in Path(pydicom.__file__).parent.glob("data/test_files/**/*") if path.is_file()]


def dicom(pixels: np.ndarray, kind: str = "MONOCHROME2", syntax: str = EXPLICIT, **fields) -> bytes:
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
    dataset.PhotometricInterpretation = kind
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


def test_grey_is_read_and_monochrome1_is_turned_over():
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
    whole = dicom(RAMP, syntax=DEFLATED)
    place = whole.index(DEFLATED.encode()) + len(DEFLATED)
    start = next(i for i in range(place, len(whole)) if _inflates(whole[i:]))
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = whole[:start]
    for _ in range(8 * limits.DICOM_BYTES // (100 * limits.MB)):
        bomb += deflater.compress(bytes(100 * limits.MB))
    bomb += deflater.flush()
    assert len(bomb) < limits.MB
    with pytest.raises(MedvitError, match="inflates to more"):
        imaging.open_image(bomb)


def _inflates(data: bytes) -> bool:
    try:
        return len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)) > 200
    except zlib.error:
        return False


@pytest.mark.parametrize("deflated", [False, True])
def test_endless_small_pieces_are_refused(deflated):
    """Items and elements of no content: one alone is nothing, two million take minutes."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    items = struct.pack("<HH2sHI", 0x0028, 0x3010, b"SQ", 0, 8 * 2_000_000) + item * 2_000_000
    elements = b"".join(
        struct.pack("<HH2sH", 0x29 + 2 * (i >> 16), i & 0xFFFF, b"CS", 0) for i in range(1_000_000)
    )
    head, content = b"", dicom(RAMP, syntax=DEFLATED if deflated else EXPLICIT)
    if deflated:
        start = next(i for i in range(200, len(content)) if _inflates(content[i:]))
        head, content = content[:start], zlib.decompress(content[start:], -zlib.MAX_WBITS)
    place = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OB"))
    for flood in (items, elements):
        data = content[:place] + flood + content[place:]
        if deflated:
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            data = packer.compress(data) + packer.flush()
        with pytest.raises(MedvitError, match="honest"):
            imaging.open_image(head + data)


def test_size_is_checked_before_pixels_are_decoded():
    with pytest.raises(MedvitError, match="million"):
        imaging.open_image(dicom(RAMP, Rows=60_000, Columns=60_000))


def test_a_picture_larger_than_the_file_says_is_refused():
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
def test_every_file_of_pydicom_gets_a_picture_or_one_sentence(path):
    try:
        assert imaging.open_image(path).mode == "RGB"
    except MedvitError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)


def test_no_field_of_the_patient_comes_out(trained, capfd, caplog):
    path = next(path for path in TEST_FILES if path.name == "CT_small.dcm")
    fields = pydicom.dcmread(path)
    private = {str(fields.get(name)) for name in ("PatientName", "PatientID", "StudyDate", "InstitutionName")}
    assert "CompressedSamples^CT1" in private
    predictor = medvit.load("breastmnist", "spt_lsa", root=trained)
    prediction = predictor.predict(predictor.source(path))
    picture = imaging.open_image(path)
    said = [str(prediction), str(prediction.to_json()), str(picture.info), str(vars(picture)), caplog.text]
    with pytest.raises(MedvitError) as refused:
        imaging.open_image(path.read_bytes()[:-20_000])
    said += [str(refused.value), *capfd.readouterr()]
    for text in said:
        assert not any(value in text for value in private if len(value) > 3)


def test_without_pydicom_the_file_is_refused_with_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MedvitError, match="pip install pydicom"):
        imaging.open_image(bytes(128) + b"DICM" + bytes(100))
