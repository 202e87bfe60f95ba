"""Decode a picture of unknown origin into an upright 8-bit RGB image."""

import errno
import io
import stat
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from medvit import limits
from medvit.errors import MedvitError
from medvit.imaging import dicom, sanitize

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = limits.PICTURE_PIXELS
MAX_BYTES = limits.PICTURE_BYTES
STRIP = 1_000_000  # pixels converted at a time
_large_ones = threading.Lock()  # one at a time, as each takes hundreds of megabytes

Picture = str | Path | bytes | Image.Image | np.ndarray


def open_image(source: Picture) -> Image.Image:
    """Decode a picture of unknown origin into an upright 8-bit RGB image.

    The first frame of an animation is taken; transparency is laid on white; 16-bit grey is scaled to 8 bits,
    not clipped; EXIF orientation is applied.

    Args:
        source: a path, the bytes of a file, a Pillow image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).

    A single-frame DICOM file is read where pydicom is installed.

    Raises:
        MedvitError: not a picture in one of `FORMATS`, damaged, or over `MAX_PIXELS` or `MAX_BYTES`.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(ImageOps.exif_transpose(source))
    size = len(source) if isinstance(source, bytes) else _file_size(source)
    if size > MAX_BYTES:
        raise MedvitError(f"The file has {size / 2**20:.0f} MB; at most {MAX_BYTES >> 20} MB are read.")
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if dicom.is_dicom(data):
            return dicom.open_dicom(data)
        sanitize.check(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise MedvitError(
                    f"The picture has {image.width} x {image.height} pixels; at most "
                    f"{MAX_PIXELS // 10**6} million are read. Make it smaller and try again."
                )
            sanitize.check_passes(data, pixels)
            with _large_ones if pixels > limits.LARGE_PICTURE else nullcontext():
                ImageOps.exif_transpose(image, in_place=True)
                return _to_rgb(image)
    except UnidentifiedImageError:
        raise MedvitError(
            f"This is not a picture that can be read here. Readable: {', '.join(FORMATS)}."
        ) from None
    except Image.DecompressionBombError:
        raise MedvitError(
            f"The picture is too large; at most {MAX_PIXELS // 10**6} million pixels are read."
        ) from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
    ) as error:
        # Pillow's decoders raise all of these on damaged files.
        raise MedvitError(
            f"The picture is damaged and cannot be decoded ({type(error).__name__})."
        ) from error


def _file_size(path: str | Path) -> int:
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # a device or a pipe could be read for ever
            raise OSError(errno.EINVAL, "not a file")
        return found.st_size
    except OSError as error:
        raise MedvitError(f"The picture {Path(path).name!r} cannot be opened ({error.strerror}).") from error


def _from_array(array: np.ndarray) -> Image.Image:
    grey_or_colour = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not grey_or_colour or array.size == 0:
        raise MedvitError(
            f"An image array must be uint8 and (H, W), (H, W, 3) or (H, W, 4), not {array.dtype} "
            f"{array.shape}."
        )
    return Image.fromarray(array)


def _to_rgb(image: Image.Image) -> Image.Image:
    deep = image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
    if not deep and not image.has_transparency_data:
        return image.convert("RGB")
    scale = _scale_to_8_bit(image) if deep else 1.0
    result = Image.new("RGB", image.size)
    for top, strip in _strips(image):  # in the whole, forty million pixels would take a gigabyte
        if deep:
            grey = np.clip(np.rint(_finite(strip) * scale), 0, 255).astype(np.uint8)
            strip = Image.fromarray(grey)
        else:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        result.paste(strip.convert("RGB"), (0, top))
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _finite(grey: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(grey).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _scale_to_8_bit(image: Image.Image) -> float:
    """Grey of more than 8 bits onto 0..255: a maximum to 1, to 255, or beyond tells which range it has."""
    top = max(_finite(strip).max() for _, strip in _strips(image))
    return 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / 65535.0
