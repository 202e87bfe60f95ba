"""From any image file to the tensor that a model takes."""

from medvit.imaging.decode import FORMATS, ImageInput, open_image
from medvit.imaging.preprocess import Preprocessing, to_source, to_tensor

__all__ = ["FORMATS", "ImageInput", "Preprocessing", "open_image", "to_source", "to_tensor"]
