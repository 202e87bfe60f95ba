"""One path for pixels: any picture -> the small square uint8 image the models were trained on -> model input.

Training, evaluation, the app and the API all end in `Preprocessing.__call__`.
"""

import io
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

from medvit.errors import MedvitError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 40_000_000
MAX_BYTES = 20 * 2**20
MAX_BATCH_FILES = 10_000  # in one batch from a visitor, zips counted by what they hold
MAX_BATCH_LOOSE = 1_000  # of them not in a zip: Gradio takes no more in one request
MAX_BATCH_BYTES = 500 * 2**20  # of one batch, unpacked
MAX_RATIO = 100  # a zip member that shrank further than any picture does is taken for a bomb
MAX_ENLARGED = 1024  # larger pictures are not taken for an enlarged thumbnail
ENLARGED_ERROR = 1.5  # mean grey levels between a picture and the thumbnail enlarged again
ENLARGERS = tuple(getattr(Image.Resampling, name) for name in ("NEAREST", "BICUBIC", "BILINEAR", "LANCZOS"))

Picture = str | Path | bytes | Image.Image | np.ndarray


def open_image(source: Picture) -> Image.Image:
    """Decode a picture of unknown origin into an upright 8-bit RGB image.

    The first frame of an animation is taken; transparency is laid on white; 16-bit grey is scaled to 8 bits,
    not clipped; EXIF orientation is applied.

    Args:
        source: a path, the bytes of a file, a Pillow image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        MedvitError: not a picture in one of `FORMATS`, damaged, or over `MAX_PIXELS` or `MAX_BYTES`.
    """
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    size = len(source) if isinstance(source, bytes) else _file_size(source)
    if size > MAX_BYTES:
        raise MedvitError(f"The file has {size / 2**20:.0f} MB; at most {MAX_BYTES >> 20} MB are read.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of a decompression bomb or of broken metadata; the first is checked below, exactly.
            warnings.simplefilter("ignore")
            with Image.open(
                io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
            ) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise MedvitError(
                        f"The picture has {image.width} x {image.height} pixels; at most "
                        f"{MAX_PIXELS // 10**6} million are read. Make it smaller and try again."
                    )
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
        return Path(path).stat().st_size
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
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(grey: np.ndarray) -> np.ndarray:
    """Grey of more than 8 bits onto 0..255: a maximum to 1, to 255, or beyond tells which range it has."""
    grey = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = grey.max(initial=0)
    scale = 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / 65535.0
    return np.clip(np.rint(grey * scale), 0, 255).astype(np.uint8)


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
    pixels = np.atleast_3d(np.asarray(square, np.float32))
    best, least = None, ENLARGED_ERROR
    for resampling in ENLARGERS:
        inverse = _inverse_of_enlarging(size, square.width, resampling)
        small = np.einsum("iy,yxc,jx->ijc", inverse, pixels, inverse, optimize=True)
        candidate = Image.fromarray(np.rint(small.clip(0, 255)).astype(np.uint8).squeeze())
        again = np.asarray(candidate.resize(square.size, resampling), np.float32)
        error = float(np.abs(again - pixels.squeeze()).mean())
        if error < least:
            best, least = candidate, error
    return best


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
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        mean = torch.tensor(self.mean, device=x.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=x.device).view(1, -1, 1, 1)
        return (x - mean) / std

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
