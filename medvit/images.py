"""One path for pixels: any picture -> the small square uint8 image the models were trained on -> model input.

Training, evaluation, the app and the API all end in `Preprocessing.__call__`.
"""

import errno
import io
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

from medvit import dicom, limits, pieces
from medvit.errors import MedvitError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = limits.PICTURE_PIXELS
MAX_BYTES = limits.PICTURE_BYTES
MAX_ENLARGED = 1024  # larger pictures are not taken for an enlarged thumbnail
ENLARGED_ERROR = 1.5  # mean grey levels between a picture and the thumbnail enlarged again
ENLARGERS = tuple(getattr(Image.Resampling, name) for name in ("NEAREST", "BICUBIC", "BILINEAR", "LANCZOS"))
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
        pieces.check(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise MedvitError(
                    f"The picture has {image.width} x {image.height} pixels; at most "
                    f"{MAX_PIXELS // 10**6} million are read. Make it smaller and try again."
                )
            pieces.check_passes(data, pixels)
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


def to_source(image: Image.Image, size: int = 28, grey: bool = False) -> np.ndarray:
    """Bring an upright RGB image to the form of the subset's own images.

    Centre square, then antialiased cubic downscale, as MedMNIST itself was made. A picture that is itself an
    enlarged small image gets that small image back, and one of the source size passes unchanged. A grey
    subset's image keeps three equal channels.

    Returns:
        uint8, (size, size, 3)
    """
    if grey:
        image = image.convert("L")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if side == size:
        return np.asarray(square.convert("RGB"))
    original = _undo_enlargement(square, size) if size < side <= MAX_ENLARGED else None
    small = original or square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small.convert("RGB"))


def _undo_enlargement(square: Image.Image, size: int) -> Image.Image | None:
    """The small image whose enlargement by one of the usual filters `square` is; None where there is none."""
    channels = square.split()
    middle = channels[len(channels) // 2]  # green, the sharpest, tells which filter it was
    errors = {one: _shrunk(middle, size, one)[1] for one in ENLARGERS}
    likely = min(errors, key=lambda one: errors[one])
    if errors[likely] > 2 * ENLARGED_ERROR:
        return None
    shrunk = [_shrunk(channel, size, likely) for channel in channels]
    if np.mean([error for _, error in shrunk]) >= ENLARGED_ERROR:
        return None
    return Image.merge(square.mode, [small for small, _ in shrunk])


def _shrunk(channel: Image.Image, size: int, resampling: Image.Resampling) -> tuple[Image.Image, float]:
    """The small image that comes nearest to a channel when enlarged, and its mean distance from it."""
    pixels = np.asarray(channel, np.float32)
    inverse = _inverse_of_enlarging(size, channel.width, resampling)
    small = Image.fromarray(np.rint((inverse @ pixels @ inverse.T).clip(0, 255)).astype(np.uint8))
    again = np.asarray(small.resize(channel.size, resampling), np.float32)
    return small, float(np.abs(again - pixels).mean())


@lru_cache(64)
def _inverse_of_enlarging(size: int, side: int, resampling: Image.Resampling) -> np.ndarray:
    """Least-squares inverse (size, side) of Pillow's enlargement of one axis from `size` to `side` pixels."""
    identity = Image.fromarray(np.eye(size, dtype=np.float32))
    return np.linalg.pinv(np.asarray(identity.resize((size, side), resampling)))


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Source images, uint8 (N, s, s) or (N, s, s, 3), to a uint8 tensor (N, 3, s, s); grey is repeated."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(1, C, 1, 1); made once, as each copy to a GPU makes the host wait for it."""
    with torch.inference_mode(False):  # or no gradient could pass what is made while one predicts
        return torch.tensor(values, device=device).view(1, -1, 1, 1)


@lru_cache
def _resampling(size: int, new_size: int, device: torch.device) -> torch.Tensor:
    """The matrix (new_size, size) by which F.interpolate, bicubic and antialiased, resamples one axis."""
    with torch.inference_mode(False):
        identity = torch.eye(size)[None, None]
        return F.interpolate(identity, (new_size, size), mode="bicubic", antialias=True)[0, 0].to(device)


@dataclass(frozen=True)
class Preprocessing:
    """The last leg of the path: source pixels to what a model takes.

    `size`: input side in pixels. `mean`, `std`: per channel, of pixels in 0..1. Enlarged bicubically.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, s, s), uint8 or float in 0..255, to normalised float32 (B, 3, size, size)."""
        x = pixels.float() / 255
        if x.shape[-1] != self.size:
            # As two matrix products and in place: on one core four times faster than F.interpolate.
            resample = _resampling(x.shape[-1], self.size, x.device)
            x = (resample @ x @ resample.T).clamp_(0, 1)
        return x.sub_(_per_channel(self.mean, x.device)).div_(_per_channel(self.std, x.device))

    def to_json(self) -> dict[str, Any]:
        """The content of a Hugging Face ``preprocessor_config.json``."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.size, "width": self.size},
            "resample": int(Image.Resampling.BICUBIC),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """Read ``preprocessor_config.json``.

        Raises:
            MedvitError: not such a file.
        """
        try:
            content = json.loads(text)
            size = content["size"]
            side = int(size["height"] if isinstance(size, dict) else size)
            mean, std = (tuple(map(float, content[key])) for key in ("image_mean", "image_std"))
            if not (1 <= side <= 1024 and len(mean) == len(std) == 3 and min(std) > 0):
                raise ValueError("size, mean or std out of range")
        except (ValueError, KeyError, TypeError) as error:
            raise MedvitError(f"preprocessor_config.json is not usable ({error}).") from error
        return cls(side, mean, std)
