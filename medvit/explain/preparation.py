"""From a picture, pixels or a prepared tensor to the input of any model, and back to pixels.

Maps that mask parts of an image do so in its pixels, 0..255, and run the model on what `Preparation` makes of
them; so a preparation also leads back from a prepared tensor to pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvit import imaging
from medvit.errors import MedvitError
from medvit.slow_imports import timm_data, transformers

DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True)
class Normalization:
    """Pixels (B, 3, H, W) in 0..255 to (pixels * rescale_factor - mean) / std; the size stays."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    rescale_factor: float = 1 / 255

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = self._per_channel(pixels)
        return (pixels.float() * self.rescale_factor - mean) / std

    def inverse(self, inputs: Tensor) -> Tensor:
        """The pixels of inputs (B, 3, H, W)."""
        mean, std = self._per_channel(inputs)
        return (inputs * std + mean) / self.rescale_factor

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
    """

    normalize: Callable[[Tensor], Tensor]
    normalization: Normalization
    open_picture: Callable[[imaging.ImageInput], Tensor]
    input_size: tuple[int, int]

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.normalize(pixels)

    def open(self, image: imaging.ImageInput | Tensor) -> Tensor:
        """A picture, pixels (1, 3, H, W) as uint8, or an input (1, 3, H, W) as float, to pixels.

        Raises:
            MedvitError: the picture cannot be read, the tensor has another shape, or the preparation of
                pictures is not known.
        """
        if not isinstance(image, Tensor):
            return self.open_picture(image)
        if image.ndim != 4 or image.shape[:2] != (1, 3):
            raise MedvitError(f"A tensor has the shape (1, 3, H, W), not {tuple(image.shape)}.")
        return self.normalization.inverse(image) if image.is_floating_point() else image

    @classmethod
    def of(cls, model: nn.Module, preprocess: Any = None) -> "Preparation":
        """The preparation for a model.

        Args:
            preprocess: as `Explainer` takes it; None for that which the model brings along.
        """
        if isinstance(preprocess, imaging.Preprocessing):
            normalization = Normalization(preprocess.mean, preprocess.std, preprocess.rescale_factor)
            open_square = partial(_open_square, preprocess.size)
            return cls(preprocess, normalization, open_square, (preprocess.size, preprocess.size))
        size = input_size(model)
        if preprocess is None:
            preprocess = _own_preprocess(model)
        if preprocess is None:
            return cls(Normalization(), Normalization(), partial(_refuse, type(model).__name__), size)
        if hasattr(preprocess, "image_mean"):  # a processor of transformers
            normalization = _normalization_of_processor(preprocess)
            open_picture = partial(_process, preprocess, normalization.rescale_factor)
            return cls(normalization, normalization, open_picture, size)
        normalization = _normalization_of_transform(preprocess)
        return cls(normalization, normalization, partial(_transform, preprocess, normalization), size)


def input_size(model: nn.Module) -> tuple[int, int]:
    """The usual size (H, W) of a model's input, as transformers, timm and torchvision store it."""
    config = getattr(model, "config", None)
    config = getattr(config, "vision_config", config)
    for size in (
        getattr(config, "image_size", None),
        (getattr(model, "pretrained_cfg", None) or {}).get("input_size"),
        getattr(model, "image_size", None),
    ):
        if size:
            return (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return DEFAULT_SIZE


def open_model(source: str | Path) -> tuple[nn.Module, Any]:
    """Open any Hugging Face image classifier, by folder or hub id, with its image processor.

    Only safetensors are read, and no code that comes with a model is run.

    Raises:
        MedvitError: there is no such model, or it is no image classifier.
    """
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(
            source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(f"The model {source} cannot be loaded: {str(error).splitlines()[0]}") from error
    return model, processor


def _own_preprocess(model: nn.Module) -> Any:
    """The preprocessing that belongs to a model: timm's configuration, or the processor in its folder."""
    if getattr(model, "pretrained_cfg", None):
        return timm_data.create_transform(**timm_data.resolve_model_data_config(model), is_training=False)
    path = getattr(getattr(model, "config", None), "name_or_path", "")
    if path and Path(path).is_dir():
        try:
            return transformers.AutoImageProcessor.from_pretrained(path, trust_remote_code=False)
        except (OSError, ValueError):
            return None
    return None


def _normalization_of_processor(processor: Any) -> Normalization:
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    if not processor.do_normalize:
        return Normalization(rescale_factor=factor)
    return Normalization(tuple(processor.image_mean), tuple(processor.image_std), factor)


def _normalization_of_transform(transform: Any) -> Normalization:
    """The mean and std of a transform of torchvision or timm, or of one of its steps."""
    for step in (transform, *getattr(transform, "transforms", ())):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None and len(mean) == len(std) == 3:
            return Normalization(tuple(map(float, mean)), tuple(map(float, std)))
    return Normalization()


def _open_square(size: int, picture: imaging.ImageInput) -> Tensor:
    return imaging.to_tensor(imaging.to_source(imaging.open_image(picture), size)[None])


def _process(processor: Any, rescale_factor: float, picture: imaging.ImageInput) -> Tensor:
    batch = processor(imaging.open_image(picture), do_normalize=False, return_tensors="pt")
    return torch.as_tensor(np.asarray(batch["pixel_values"])) / rescale_factor


def _transform(
    transform: Callable[..., Tensor], normalization: Normalization, picture: imaging.ImageInput
) -> Tensor:
    return normalization.inverse(transform(imaging.open_image(picture))[None])


def _refuse(name: str, picture: imaging.ImageInput) -> Tensor:
    raise MedvitError(
        f"How pictures are prepared for {name} is not known. Give Explainer(model, preprocess=...), or an "
        "input tensor (1, 3, H, W) instead of a picture."
    )
