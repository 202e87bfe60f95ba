"""One path for pixels: an RGB image -> the source image that a dataset contains -> model input.

Training, evaluation, the app and the API all end in `Preprocessing.__call__`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from medvit import untrusted
from medvit.errors import MedvitError
from medvit.pixels import as_rgb

MAX_SIZE = 1024  # side of a model's input in pixels
MAX_VALUE = 1e3  # of mean, std, 1 / std and 255 * rescale_factor
MAX_UPSCALED = 1024  # side in pixels; larger images are not checked for being an upscaled small image
MAX_UPSCALING_ERROR = 1.5  # mean grey levels between an image and the small image upscaled again
ROW_STEP = 8  # of the rows that are looked at first
MIN_UPSCALING = 2  # with less, the inverse amplifies noise, and many an ordinary image looks upscaled
UPSCALING_FILTERS = tuple(
    getattr(Image.Resampling, name) for name in ("NEAREST", "BICUBIC", "BILINEAR", "LANCZOS")
)


def to_source(image: Image.Image, size: int = 28, grey: bool = False) -> np.ndarray:
    """Convert an upright RGB image to the form of a dataset's own images.

    The centre square is downscaled with an antialiased cubic filter, as MedMNIST itself was made. Where the
    square is a small image that was upscaled twofold or more, the small image is restored; an image of the
    source size stays as it is. With `grey`, the three channels are equal.

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
    original = _undo_upscaling(square, size) if MIN_UPSCALING * size <= side <= MAX_UPSCALED else None
    small = original or square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small.convert("RGB"))


def _undo_upscaling(square: Image.Image, size: int) -> Image.Image | None:
    """The small image from which `square` was upscaled by one of the usual filters; None if there is none."""
    channels = square.split()
    middle = channels[len(channels) // 2]  # green, the sharpest, identifies the filter
    rows = np.asarray(middle, np.float32)[::ROW_STEP]
    errors = {resampling: _error_of_rows(rows, size, resampling) for resampling in UPSCALING_FILTERS}
    best = min(errors, key=lambda resampling: errors[resampling])
    if errors[best] > 2 * MAX_UPSCALING_ERROR:
        return None
    downscaled = [_downscaled(channel, size, best) for channel in channels]
    if np.mean([error for _, error in downscaled]) >= MAX_UPSCALING_ERROR:
        return None
    return Image.merge(square.mode, [small for small, _ in downscaled])


def _error_of_rows(rows: np.ndarray, size: int, resampling: Image.Resampling) -> float:
    """Mean distance of some rows, float32 (N, side), to the nearest upscaled ones.

    Each row of an upscaled image is an upscaled row, so most images are told apart by a few rows.
    """
    side = rows.shape[1]
    small = rows @ _inverse_of_upscaling(size, side, resampling).T
    upscaled = np.asarray(Image.fromarray(small).resize((side, len(rows)), resampling))
    return float(np.abs(upscaled - rows).mean())


def _downscaled(channel: Image.Image, size: int, resampling: Image.Resampling) -> tuple[Image.Image, float]:
    """The small image that is closest to a channel when upscaled, and the mean distance of the two."""
    pixels = np.asarray(channel, np.float32)
    inverse = _inverse_of_upscaling(size, channel.width, resampling)
    small = Image.fromarray(np.rint((inverse @ pixels @ inverse.T).clip(0, 255)).astype(np.uint8))
    upscaled = np.asarray(small.resize(channel.size, resampling), np.float32)
    return small, float(np.abs(upscaled - pixels).mean())


@lru_cache(64)
def _inverse_of_upscaling(size: int, side: int, resampling: Image.Resampling) -> np.ndarray:
    """Least-squares inverse (size, side) of Pillow's resampling of one axis from `size` to `side` pixels.

    The normal equations, well-conditioned from MIN_UPSCALING, are solved ten times faster than by pinv.
    """
    identity = Image.fromarray(np.eye(size, dtype=np.float32))
    upscaling = np.asarray(identity.resize((size, side), resampling)).astype(np.float64)
    return np.linalg.solve(upscaling.T @ upscaling, upscaling.T).astype(np.float32)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Convert images, uint8 (N, s, s) or (N, s, s, 3), to a uint8 tensor (N, 3, s, s); grey is repeated."""
    return torch.from_numpy(np.ascontiguousarray(as_rgb(images).transpose(0, 3, 1, 2)))


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(1, C, 1, 1); cached, because each copy to a GPU blocks the host."""
    with torch.inference_mode(False):  # an inference tensor in the cache would break later backward passes
        return torch.tensor(values, device=device).view(1, -1, 1, 1)


@lru_cache
def _resampling_matrix(new_size: int, size: int, device: torch.device) -> torch.Tensor:
    """The matrix (new_size, size) by which F.interpolate, bicubic and antialiased, resamples one axis."""
    with torch.inference_mode(False):
        identity = torch.eye(size)[None, None]
        return F.interpolate(identity, (new_size, size), mode="bicubic", antialias=True)[0, 0].to(device)


def resize(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize pixels (B, 3, h, w), float in 0..1, bicubically and antialiased to `size`, (H, W).

    Two matrix products: on one core four times faster than F.interpolate.
    """
    rows, columns = (
        _resampling_matrix(new, old, pixels.device) for new, old in zip(size, pixels.shape[-2:], strict=True)
    )
    return (rows @ pixels @ columns.T).clamp_(0, 1)


@dataclass(frozen=True)
class Preprocessing:
    """The last step of the path: source pixels to model input, as a Hugging Face image processor does it.

    `size`: side of the input in pixels; images are resized to it bicubically.
    `rescale_factor`: factor of the pixel values 0..255.
    `mean`, `std`: per channel, of the rescaled pixels.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    rescale_factor: float = 1 / 255

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert pixels (B, 3, s, s), uint8 or float in 0..255, to normalised float32 (B, 3, size, size)."""
        x = pixels.float() / 255
        if x.shape[-1] != self.size:
            x = resize(x, (self.size, self.size))
        if self.rescale_factor != 1 / 255:
            x = x.mul_(255 * self.rescale_factor)
        return x.sub_(_per_channel(self.mean, x.device)).div_(_per_channel(self.std, x.device))

    def to_json(self) -> dict[str, Any]:
        """Return the content of a Hugging Face ``preprocessor_config.json``."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.size, "width": self.size},
            "resample": int(Image.Resampling.BICUBIC),
            "do_rescale": True,
            "rescale_factor": self.rescale_factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    @classmethod
    def read(cls, path: Path) -> "Preprocessing":
        """Read a ``preprocessor_config.json``.

        Raises:
            MedvitError: the file is damaged, or its values are out of range.
        """
        content = untrusted.read_json(path)
        try:
            size = content["size"]
            side = size["height"] if isinstance(size, dict) else size
            mean, std = (tuple(map(float, content[key])) for key in ("image_mean", "image_std"))
            factor = float(content.get("rescale_factor", 1 / 255)) if content.get("do_rescale", True) else 1.0
            _check_ranges(side, mean, std, factor)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise MedvitError(f"{path.name} is not usable ({error!s:.200})") from error
        return cls(side, mean, std, factor)


def _check_ranges(size: int, mean: tuple[float, ...], std: tuple[float, ...], rescale_factor: float) -> None:
    """Raise ValueError unless the inputs that result have a sensible size and sensible values."""
    if type(size) is not int or not 1 <= size <= MAX_SIZE:
        raise ValueError(f"the size is not a whole number from 1 to {MAX_SIZE}")
    if len(mean) != 3 or len(std) != 3 or not all(abs(value) <= MAX_VALUE for value in mean):
        raise ValueError("image_mean or image_std are not three numbers in the usual range")
    if not all(1 / MAX_VALUE <= value <= MAX_VALUE for value in (*std, 255 * rescale_factor)):
        raise ValueError("image_std or rescale_factor are out of range")
