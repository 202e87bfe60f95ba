"""A single-frame DICOM file -> an 8-bit RGB picture, through pydicom (optional): pixels only, no other field.

Only the elements named here are read. Nothing of a patient is read, and errors repeat nothing from the file.
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

DEFLATED = "1.2.840.10008.1.2.1.99"
TURNS = 100_000  # at reading a file; the largest of pydicom's own takes some thousands
TABLE_BYTES = 2**20  # of a sequence of lookup tables; one of 16 bits has 128 kB
JPEGS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 90, 91))
# What pydicom decodes with numpy and Pillow alone: uncompressed, deflated, RLE, JPEG and JPEG 2000.
READABLE = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    DEFLATED,
    "1.2.840.10008.1.2.5",
    *JPEGS,
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
    """Whether pydicom is installed."""
    return importlib.util.find_spec("pydicom") is not None


def is_dicom(data: bytes) -> bool:
    """Whether the bytes of a file start as DICOM files do."""
    return data[128:132] == b"DICM"


def open_dicom(data: bytes) -> Image.Image:
    """Decode a single-frame DICOM file; rescaled, windowed as the file says, MONOCHROME1 turned over.

    Raises:
        MedvitError: pydicom is missing, the file is damaged, too large, of several frames, or in a transfer
            syntax that is not read here.
    """
    try:
        import pydicom
        from pydicom import config
    except ImportError:
        raise MedvitError(
            "This is a DICOM file, which needs a package that is missing. Install it: pip install pydicom"
        ) from None
    config.settings.reading_validation_mode = config.IGNORE  # its warnings would repeat what is in the file
    try:
        data = _inflated(data)
        head = pydicom.dcmread(_CountedFile(data), stop_before_pixels=True, specific_tags=FIELDS)
        _check_size(head)
        _check_tables(head)
        whole = pydicom.dcmread(_CountedFile(data), specific_tags=FIELDS)
        if "PixelData" not in whole:
            raise MedvitError("The DICOM file holds no picture.")
        if whole.file_meta.TransferSyntaxUID in JPEGS:
            _check_frame(whole)
        return Image.fromarray(_to_8_bit(whole)).convert("RGB")
    except MedvitError:
        raise
    except Exception as error:  # pydicom and its decoders raise whatever a damaged file makes them raise
        raise MedvitError(f"The DICOM file cannot be decoded ({type(error).__name__}).") from None


class _CountedFile(io.BytesIO):
    """A file that is read in a limited number of turns; each element and item takes pydicom one or more."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.turns = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.turns += 1
        if self.turns > TURNS:
            raise MedvitError("The DICOM file consists of too many small pieces to be an honest picture.")
        return super().read(size)


def _inflated(data: bytes) -> bytes:
    """The file with its data set inflated, so that nothing else inflates it without a limit."""
    from pydicom.filereader import read_dataset, read_preamble

    file = _CountedFile(data)
    read_preamble(file, force=False)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2
    )
    syntax = str(meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    if syntax not in READABLE:
        raise MedvitError("The DICOM file is compressed in a way that is not read here. Export it as PNG.")
    if syntax != DEFLATED:
        return data
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(data[file.tell() :], limits.DICOM_BYTES)
    if inflater.unconsumed_tail:
        raise MedvitError(f"The DICOM file inflates to more than {limits.DICOM_BYTES // limits.MB} MB.")
    # The same element with the length kept: the plain explicit syntax, padded.
    plain = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")
    return data[: file.tell()].replace(DEFLATED.encode(), plain, 1) + content


def _check_size(head: Any) -> None:
    frames = int(head.get("NumberOfFrames") or 1)
    if frames != 1:
        raise MedvitError(f"The DICOM file has {frames} frames; only single pictures are read.")
    rows, columns, samples = (int(head.get(name) or 0) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if not (rows and columns and samples in (1, 3)):
        raise MedvitError("The DICOM file holds no picture.")
    if rows * columns > limits.DICOM_PIXELS:
        raise MedvitError(
            f"The picture has {columns} x {rows} pixels; at most {limits.DICOM_PIXELS // 10**6} million are "
            "read of a DICOM file."
        )


def _check_tables(head: Any) -> None:
    """What is not yet taken apart will be later, uncounted."""
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        raw = head.get_item(name) if name in head else None
        if len(getattr(raw, "value", None) or b"") > TABLE_BYTES:
            raise MedvitError("The DICOM file has a lookup table that is too large to be an honest one.")


def _check_frame(dataset: Any) -> None:
    """The picture inside must be as large as the file says outside."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        if image.size != (dataset.Columns, dataset.Rows):
            raise MedvitError("The DICOM file contradicts itself about the size of its picture.")
        sanitize.check_passes(frame, image.width * image.height)


def _to_8_bit(dataset: Any) -> np.ndarray:
    """uint8, (H, W) or (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    pixels = dataset.pixel_array
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, dataset)
        return (coloured >> 8 if coloured.itemsize > 1 else coloured).astype(np.uint8)
    if pixels.ndim == 3:
        return (pixels >> max(0, int(dataset.BitsStored) - 8)).astype(np.uint8)
    values = apply_modality_lut(pixels, dataset)
    if "WindowWidth" in dataset or "VOILUTSequence" in dataset:
        # What the window makes of far too dark and far too bright is its black and its white.
        ends = np.array([[values.min() - 1e6, values.max() + 1e6]])
        low, high = np.ravel(
            apply_voi_lut(ends.astype(values.dtype) if "VOILUTSequence" in dataset else ends, dataset)
        )
        values = apply_voi_lut(values, dataset)
    else:
        low, high = values.min(), values.max()
    share = (values.astype(np.float32) - low) / (high - low if high > low else 1)
    grey = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return 255 - grey if kind == "MONOCHROME1" else grey
