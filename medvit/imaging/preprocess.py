"""One path for pixels: an RGB picture -> the source image a dataset holds -> model input.

Training, evaluation, the app and the API all end in `Preprocessing.__call__`.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from medvit.errors import MedvitError

MAX_ENLARGED = 1024  # larger pictures are not taken for an enlarged thumbnail
ENLARGED_ERROR = 1.5  # mean grey levels between a picture and the thumbnail enlarged again
ENLARGERS = tuple(getattr(Image.Resampling, name) for name in ("NEAREST", "BICUBIC", "BILINEAR", "LANCZOS"))


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
