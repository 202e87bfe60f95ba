"""Decode a single-frame DICOM file into an 8-bit RGB image with pydicom (optional).

Only the elements listed here are read, so no data of the patient; errors repeat nothing from the file.
"""

import importlib.util
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from medvit import limits
from medvit.errors import MedvitError
from medvit.imaging import sanitize
from medvit.memory import LargeImageLock
from medvit.slow_imports import pydicom, pydicom_config, pydicom_encaps, pydicom_filereader, pydicom_pixels

MAX_READS = 100_000  # while parsing a file; the largest of pydicom's test files needs some thousands
MAX_TABLE_BYTES = 2**20  # of a sequence of lookup tables; one of 16 bits has 128 kB
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 90, 91))
# What pydicom decodes with numpy and Pillow alone: uncompressed, deflated, RLE, JPEG and JPEG 2000.
SUPPORTED_SYNTAXES = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    DEFLATED,
    "1.2.840.10008.1.2.5",
    *JPEG_SYNTAXES,
}
FIELDS = [
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration", "PixelData", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "PixelPaddingValue",
]  # fmt: skip


def available() -> bool:
    """Return whether pydicom is installed."""
    return importlib.util.find_spec("pydicom") is not None


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes of a file start as those of a DICOM file do."""
    return data[128:132] == b"DICM"


def open_dicom(data: bytes, lock: LargeImageLock) -> Image.Image:
    """Decode a single-frame DICOM file; apply its rescaling and window, and invert MONOCHROME1.

    Args:
        lock: acquired where the image is large, or compressed as a whole.

    Raises:
        MedvitError: pydicom is missing, or the file is damaged, too large, has several frames, or uses a
            transfer syntax that is not supported.
    """
    if not available():
        raise MedvitError(
            "This is a DICOM file, which needs a package that is missing. Install it: pip install pydicom"
        )
    try:
        # pydicom's warnings would repeat values of the file.
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        data = _inflate(data, lock)
        header = pydicom.dcmread(_CountedFile(data), stop_before_pixels=True, specific_tags=FIELDS)
        if _checked_size(header) > limits.LARGE_IMAGE_PIXELS:
            lock.acquire()
        _check_tables(header)
        dataset = pydicom.dcmread(_CountedFile(data), specific_tags=FIELDS)
        if "PixelData" not in dataset:
            raise MedvitError("The DICOM file contains no image.")
        if dataset.file_meta.TransferSyntaxUID in JPEG_SYNTAXES:
            _check_frame(dataset)
        return Image.fromarray(_to_8_bit(dataset)).convert("RGB")
    except MedvitError:
        raise
    except Exception as error:  # pydicom and its decoders raise all kinds of exceptions on damaged files
        raise MedvitError(f"The DICOM file cannot be decoded ({type(error).__name__}).") from None


class _CountedFile(io.BytesIO):
    """A file with a limited number of reads; pydicom needs one or more for each element and item."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise MedvitError("The DICOM file has too many parts for a valid image.")
        return super().read(size)


def _inflate(data: bytes, lock: LargeImageLock) -> bytes:
    """Decompress a deflated data set up to a limit, because pydicom would do it without one."""
    file = _CountedFile(data)
    pydicom_filereader.read_preamble(file, force=False)
    meta = pydicom_filereader.read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2
    )
    syntax = str(meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    if syntax not in SUPPORTED_SYNTAXES:
        raise MedvitError("The compression of this DICOM file is not supported. Export the image as PNG.")
    if syntax != DEFLATED:
        return data
    lock.acquire()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(data[file.tell() :], limits.DICOM_BYTES)
    if inflater.unconsumed_tail:
        raise MedvitError(f"The DICOM file inflates to more than {limits.DICOM_BYTES // limits.MB} MB.")
    # The uncompressed explicit syntax, padded so that the element keeps its length.
    explicit = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")
    return data[: file.tell()].replace(DEFLATED.encode(), explicit, 1) + content


def _checked_size(header: Any) -> int:
    """The number of pixels."""
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise MedvitError(f"The DICOM file has {frames} frames; only single images are supported.")
    rows, columns, samples = (int(header.get(name) or 0) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if not (rows and columns and samples in (1, 3)):
        raise MedvitError("The DICOM file contains no image.")
    if rows * columns > limits.DICOM_PIXELS:
        raise MedvitError(
            f"The image has {columns} x {rows} pixels; at most {limits.DICOM_PIXELS // 10**6} million are "
            "accepted in a DICOM file."
        )
    return rows * columns


def _check_tables(header: Any) -> None:
    """Limit the lookup tables, which pydicom parses later without counted reads."""
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        raw = header.get_item(name) if name in header else None
        if len(getattr(raw, "value", None) or b"") > MAX_TABLE_BYTES:
            raise MedvitError("The DICOM file has a lookup table that is too large to be valid.")


def _check_frame(dataset: Any) -> None:
    """Check that the compressed image has the size that the file states."""
    frame = pydicom_encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        if image.size != (dataset.Columns, dataset.Rows):
            raise MedvitError("The DICOM file contradicts itself about the size of its image.")
        sanitize.check_scans(frame, image.width * image.height)


def _to_8_bit(dataset: Any) -> np.ndarray:
    """uint8, (H, W) or (H, W, 3)."""
    pixels = dataset.pixel_array
    interpretation = dataset.PhotometricInterpretation
    if interpretation == "PALETTE COLOR":
        rgb = pydicom_pixels.apply_color_lut(pixels, dataset)
        return (rgb >> 8 if rgb.itemsize > 1 else rgb).astype(np.uint8)
    if pixels.ndim == 3:
        return (pixels >> max(0, int(dataset.BitsStored) - 8)).astype(np.uint8)
    values = pydicom_pixels.apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        low, high = 0.0, 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
        values = pydicom_pixels.apply_voi_lut(values, dataset)
    elif all(dataset.get(name) not in (None, "") for name in ("WindowCenter", "WindowWidth")):
        # The window maps values far below and far above it to its black and its white.
        ends = np.array([[float(values.min()) - 1e6, float(values.max()) + 1e6]])
        low, high = np.ravel(pydicom_pixels.apply_voi_lut(ends, dataset, prefer_lut=False))
        values = pydicom_pixels.apply_voi_lut(values, dataset, prefer_lut=False)
    else:
        inside = values[pixels != dataset.get("PixelPaddingValue")]
        low, high = (float(end(inside if inside.size else values)) for end in (np.min, np.max))
    fraction = (values.astype(np.float32) - low) / (high - low if high > low else 1)
    grey = np.rint(fraction.clip(0, 1) * 255).astype(np.uint8)
    return 255 - grey if interpretation == "MONOCHROME1" else grey
