"""From any image file to the tensor that a model takes."""

from medvit.imaging.decode import FORMATS, ImageInput, open_image, read_source
from medvit.imaging.preprocess import Preprocessing, resize, to_source, to_tensor

__all__ = [
    "FORMATS",
    "ImageInput",
    "Preprocessing",
    "open_image",
    "read_source",
    "resize",
    "to_source",
    "to_tensor",
]
