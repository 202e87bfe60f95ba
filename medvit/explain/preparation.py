"""From a picture, pixels or a prepared tensor to the input of any model, and back to pixels.

Maps that mask parts of an image do so in its pixels, 0..255, and run the model on what `Preparation` makes of
them; so a preparation also leads back from a prepared tensor to pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from medvit import imaging
from medvit.errors import MedvitError, first_line
from medvit.explain import display
from medvit.slow_imports import timm, transformers

DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True)
class Normalization:
    """Pixels (B, 3, H, W) in 0..255 to (pixels * rescale_factor - mean) / std; the size stays.

    `bgr`: whether the channels of the input are blue, green, red.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    rescale_factor: float = 1 / 255
    bgr: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = self._per_channel(pixels)
        ordered = pixels.flip(1) if self.bgr else pixels
        return (ordered.float() * self.rescale_factor - mean) / std

    def inverse(self, inputs: Tensor) -> Tensor:
        """The pixels of inputs (B, 3, H, W)."""
        mean, std = self._per_channel(inputs)
        pixels = (inputs * std + mean) / self.rescale_factor
        return pixels.flip(1) if self.bgr else pixels

    def _per_channel(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=like.device) for values in (self.mean, self.std))
        return mean.view(-1, 1, 1), std.view(-1, 1, 1)


@dataclass(frozen=True)
class Preparation:
    """How images become the input of a model; called with pixels (B, 3, h, w) it gives (B, 3, H, W).

    Attributes:
        normalize: pixels in 0..255 to inputs, resized where needed.
        normalization: the same without resizing.
        open_picture: any picture to pixels (1, 3, H, W), ready for `normalize`.
        input_size: (H, W), the usual size of the input.
        channels: of the input: 3, or 1 for the mean of these.
    """

    normalize: Callable[[Tensor], Tensor]
    normalization: Normalization
    open_picture: Callable[[imaging.ImageInput], Tensor]
    input_size: tuple[int, int]
    channels: int = 3

    def __call__(self, pixels: Tensor) -> Tensor:
        inputs = self.normalize(pixels)
        return inputs if self.channels == 3 else inputs.mean(1, keepdim=True)

    def open(self, image: imaging.ImageInput | Tensor) -> Tensor:
        """A picture, pixels (1, 3, H, W) as uint8, or an input (1, channels, H, W) as float, to pixels.

        Raises:
            MedvitError: the picture cannot be read, the tensor has another shape, or the preparation of
                pictures is not known.
        """
        if isinstance(image, str | bytes | PathLike | Image.Image | np.ndarray):
            return self.open_picture(image).expand(-1, 3, -1, -1)
        if not isinstance(image, Tensor):
            raise MedvitError(
                "An image is a path, the bytes of a file, a PIL image, an array or a tensor, not "
                f"{type(image).__name__}; several are explained one by one."
            )
        image = image.cpu()
        if image.ndim == 4 and image.shape[1] == self.channels:
            image = image.expand(-1, 3, -1, -1)
        if image.ndim != 4 or image.shape[:2] != (1, 3):
            raise MedvitError(
                f"A tensor has the shape (1, 3, H, W), not {tuple(image.shape)}; several are explained one "
                "by one."
            )
        return self.normalization.inverse(image) if image.is_floating_point() else image

    def check(self, name: str) -> None:
        """Check that `normalization` is all that happens to the pixels of a picture of the right size.

        Raises:
            MedvitError: it is not, so the pictures of the model `name` cannot be prepared in advance, masked,
                or displayed.
        """
        noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
        pixels = self.open(noise)
        rounded = imaging.to_tensor(display.to_picture(pixels[0])[None])
        difference = (self(rounded) - self(pixels)).abs().max()
        if not difference <= 1 / 255 / min(self.normalization.std):
            raise MedvitError(
                f"The model {name} prepares its pictures by more than resizing and normalising each channel, "
                "so they can be neither displayed nor measured here. In Python, "
                "medvit.Explainer(model, preprocess=...) explains it."
            )

    def crops(self) -> bool:
        """Whether a picture of the size of the input loses its margin, as by the usual centre crop."""
        height, width = self.input_size
        framed = np.full((height, width, 3), 255, np.uint8)
        framed[1:-1, 1:-1] = 0
        return bool(self.open(framed)[0, :, 0, 0].max() < 128)

    @classmethod
    def of(cls, model: nn.Module, preprocess: Any = None) -> "Preparation":
        """The preparation for a model.

        Args:
            preprocess: as `Explainer` takes it; None for that which the model brings along.
        """
        prepared = cls._of_colours(model, preprocess)
        return replace(prepared, channels=1 if (_channels(model) or prepared.channels) == 1 else 3)

    @classmethod
    def _of_colours(cls, model: nn.Module, preprocess: Any) -> "Preparation":
        if isinstance(preprocess, imaging.Preprocessing):
            normalization = Normalization(preprocess.mean, preprocess.std, preprocess.rescale_factor)
            open_square = partial(_open_square, preprocess.size)
            return cls(preprocess, normalization, open_square, (preprocess.size, preprocess.size))
        if preprocess is None:
            preprocess = _own_preprocess(model)
        if preprocess is None:
            refuse = partial(_refuse, type(model).__name__)
            return cls(Normalization(), Normalization(), refuse, input_size(model))
        preprocess = getattr(preprocess, "image_processor", preprocess)  # beside a tokenizer, as of CLIP
        preprocess = getattr(preprocess, "val_transforms", preprocess)  # transformers' wrapper of timm
        to_input = partial(_process, preprocess) if hasattr(preprocess, "image_mean") else preprocess
        _check_preprocess(to_input)
        bgr = getattr(preprocess, "do_flip_channel_order", False)
        normalization, (channels, height, width) = _measure(to_input, bgr)
        open_picture = partial(_transform, to_input, normalization)
        return cls(normalization, normalization, open_picture, (height, width), channels)


def input_size(model: nn.Module) -> tuple[int, int]:
    """The usual size (H, W) of a model's input, as transformers, timm and torchvision store it."""
    for size in (
        getattr(_vision_config(model), "image_size", None),
        getattr(getattr(model, "patch_embed", None), "img_size", None),  # timm's real one
        (getattr(model, "pretrained_cfg", None) or {}).get("input_size"),
        getattr(model, "image_size", None),
    ):
        if size:
            return (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return DEFAULT_SIZE


def _channels(model: nn.Module) -> int | None:
    """The channels of a model's input, from its first convolution or its configuration; None if unknown."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return getattr(_vision_config(model), "num_channels", None)


def _vision_config(model: nn.Module) -> Any:
    """The configuration of a model of transformers, or that of its part for pictures; None for others."""
    config = getattr(model, "config", None)
    return getattr(config, "vision_config", config)


def _own_preprocess(model: nn.Module) -> Any:
    """The preprocessing that belongs to a model: timm's configuration, or the processor in its folder."""
    if getattr(model, "pretrained_cfg", None):
        config = timm.data.resolve_model_data_config(model)
        config["input_size"] = (3, *input_size(model))
        return timm.data.create_transform(**config, is_training=False)
    path = getattr(getattr(model, "config", None), "name_or_path", "")
    if path and Path(path).is_dir():
        try:
            return transformers.AutoImageProcessor.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError):
            return None
    return None


def _measure(to_input: Callable[..., Tensor], bgr: bool) -> tuple[Normalization, torch.Size]:
    """The normalisation of a preprocessing, and the shape (channels, H, W) of its inputs.

    Both are read from its inputs for plain pictures.

    Where it does something else to the values than normalise each channel, its inputs count as pixels.
    """
    black, grey, white = (to_input(Image.new("RGB", (64, 64), (level,) * 3)) for level in (0, 51, 255))
    low, fifth, high = (values.float().amax((1, 2)) for values in (black, grey, white))  # (3,)
    std = 1 / (high - low)
    even = all(bool((values.amin((1, 2)) == values.amax((1, 2))).all()) for values in (black, grey, white))
    if not even or not torch.isfinite(std).all() or not torch.allclose(fifth, low + 0.2 / std, atol=1e-4):
        return Normalization(), black.shape
    mean, std = ([round(float(value), 6) for value in values] for values in (-low * std, std))
    return Normalization(tuple(mean), tuple(std), bgr=bgr), black.shape


def _check_preprocess(to_input: Callable[..., Any]) -> None:
    """Raise MedvitError where a preprocessing does not make an input (3 or 1, H, W) of a picture."""
    try:
        values = to_input(Image.new("RGB", (64, 64)))
    except Exception as error:  # whatever another's function raises
        raise MedvitError(f"preprocess cannot prepare a picture ({first_line(error)}).") from error
    if not isinstance(values, Tensor) or values.ndim != 3 or values.shape[0] not in (1, 3):
        kind = f"a tensor {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise MedvitError(
            "preprocess is a medvit.imaging.Preprocessing, a processor of transformers, or a function from a "
            f"PIL image to a tensor (3, H, W); it gives {kind}."
        )


def _open_square(size: int, picture: imaging.ImageInput) -> Tensor:
    return imaging.to_tensor(imaging.read_source(picture, size)[None])


def _process(processor: Any, picture: Image.Image) -> Tensor:
    """The input (3, H, W) that a processor of transformers makes of a picture."""
    return torch.as_tensor(np.asarray(processor(picture, return_tensors="pt")["pixel_values"]))[0]


def _transform(
    to_input: Callable[..., Tensor], normalization: Normalization, picture: imaging.ImageInput
) -> Tensor:
    """The pixels (1, 3, H, W) of a picture whose inputs `to_input` makes."""
    return normalization.inverse(to_input(imaging.open_image(picture))[None])


def _refuse(name: str, picture: imaging.ImageInput) -> Tensor:
    raise MedvitError(
        f"How pictures are prepared for {name} is not known. Give Explainer(model, preprocess=...), or an "
        "input tensor (1, 3, H, W) instead of a picture."
    )
