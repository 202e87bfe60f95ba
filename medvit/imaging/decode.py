"""Decode an image of unknown origin into an upright 8-bit RGB image."""

import errno
import io
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medvit import limits
from medvit.errors import MedvitError, reason
from medvit.imaging import dicom, sanitize
from medvit.imaging.preprocess import to_source
from medvit.memory import LargeImageLock

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# Everything that Pillow's decoders raise on damaged files.
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, KeyError, TypeError, OverflowError,
    struct.error,
)  # fmt: skip
WHITES = (1, *(2**bits - 1 for bits in (8, 10, 12, 14, 16)))  # of grey values in the usual ranges
TIFF_PHOTOMETRIC = 262  # the tag PhotometricInterpretation
STRIP_PIXELS = 1_000_000  # converted at a time

ImageInput = str | Path | bytes | Image.Image | np.ndarray


def open_image(source: ImageInput) -> Image.Image:
    """Decode an image of unknown origin into an upright 8-bit RGB image.

    Of an animation the first frame is taken; transparent pixels are blended with white; the EXIF orientation
    is applied. Single-frame DICOM files are read if pydicom is installed.

    Grey values of more than 8 bits are scaled to 0..255: from 0..1 where none is larger, else from the range
    of the fewest of 8, 10, 12, 14 or 16 bits that their maximum fits into, or from 0 to a larger maximum.
    Where some are negative, the minimum becomes black and the maximum white.

    Args:
        source: a path, the bytes of a file, a Pillow image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        MedvitError: not an image in one of `FORMATS`, damaged, or over the limits of size in `medvit.limits`.
    """
    with LargeImageLock() as lock:
        return _open(source, lock)


def read_source(source: ImageInput, size: int = 28, grey: bool = False) -> np.ndarray:
    """Decode an image as `open_image` does, and convert it as `to_source` does.

    Threads do both with large image files one after the other, so that one of them is in memory at a time.
    """
    with LargeImageLock() as lock:
        return to_source(_open(source, lock), size, grey)


def _open(source: ImageInput, lock: LargeImageLock) -> Image.Image:
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise MedvitError("The image has no pixels.")
        try:
            copy = source.copy()  # a file that Pillow opened is read here
            return _to_rgb(_upright(copy), _white_is_zero(source))
        except DECODER_ERRORS as error:
            raise _damaged(error) from error
    data = _read(source)
    if dicom.is_dicom(data):
        return dicom.open_dicom(data, lock)
    sanitize.check_structure(data)
    try:
        return _decode(data, lock)
    except UnidentifiedImageError:
        raise MedvitError(
            f"This is not an image in a supported format. Supported: {', '.join(FORMATS)}."
        ) from None
    except Image.DecompressionBombError:
        raise MedvitError(
            f"The image is too large; at most {limits.IMAGE_PIXELS // 10**6} million pixels are accepted."
        ) from None
    except DECODER_ERRORS as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> MedvitError:
    return MedvitError(f"The image is damaged and cannot be decoded ({type(error).__name__}).")


def _read(source: str | Path | bytes) -> bytes:
    """The bytes of a file, if they are not too many."""
    if isinstance(source, bytes):
        size = len(source)
    else:
        source = Path(source)
        try:
            status = source.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a device or a pipe might never end
                raise OSError(errno.EINVAL, "not a file")
            size = status.st_size
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise MedvitError(f"The image {source.name!r} cannot be opened ({reason(error)}).") from error
    if size > limits.IMAGE_BYTES:
        raise MedvitError(
            f"The file has {size >> 20} MB; at most {limits.IMAGE_BYTES >> 20} MB are accepted."
        )
    try:
        return source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise MedvitError(f"The image file cannot be read ({error.strerror}).") from error


def _decode(data: bytes, lock: LargeImageLock) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        pixels = image.width * image.height
        if pixels > limits.IMAGE_PIXELS:
            raise MedvitError(
                f"The image has {image.width} x {image.height} pixels; at most "
                f"{limits.IMAGE_PIXELS // 10**6} million are accepted. Make it smaller and try again."
            )
        sanitize.check_scans(data, pixels)
        if pixels > limits.LARGE_IMAGE_PIXELS:
            lock.acquire()
        return _to_rgb(_upright(image), _white_is_zero(image))


def _upright(image: Image.Image) -> Image.Image:
    """The same image, turned in place as its EXIF orientation says."""
    image.getexif()  # keeps the orientation
    for name in ("exif", "xmp"):  # else Pillow writes them anew, which fails for a tag of another type
        image.info.pop(name, None)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _white_is_zero(image: Image.Image) -> bool:
    """Whether the grey values of a TIFF are inverted; those of 8 bits Pillow inverts itself."""
    return bool(getattr(image, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == 0)


def _from_array(array: np.ndarray) -> Image.Image:
    grey_or_colour = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not grey_or_colour or array.size == 0:
        raise MedvitError(
            f"An image array must be uint8 and (H, W), (H, W, 3) or (H, W, 4), not {array.dtype} "
            f"{array.shape}."
        )
    return Image.fromarray(array)


def _to_rgb(image: Image.Image, white_is_zero: bool) -> Image.Image:
    deep = image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
    if not deep and not image.has_transparency_data:
        return image.convert("RGB")
    low, high = _grey_range(image) if deep else (0.0, 255.0)
    if white_is_zero:
        low, high = high, low
    scale = 255 / (high - low or 1)
    transparent = image.info.get("transparency") if deep else None
    result = Image.new("RGB", image.size)
    for top, strip in _strips(image):  # all at once, forty million pixels would take a gigabyte
        if deep:
            values = _finite(strip)
            grey = np.clip(np.rint((values - low) * scale), 0, 255).astype(np.uint8)
            if transparent is not None:
                grey[values == transparent] = 255
            strip = Image.fromarray(grey)
        else:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        result.paste(strip.convert("RGB"), (0, top))
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _finite(grey: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(grey).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """The grey values that become 0 and 255; see `open_image`."""
    extremes = [(grey.min(), grey.max()) for grey in (_finite(strip) for _, strip in _strips(image))]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if low < 0:
        return low, high
    return 0.0, next((float(white) for white in WHITES if high <= white), high)
