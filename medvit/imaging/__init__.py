"""Any uploaded picture -> the tensor a model takes."""

from medvit.imaging.decode import FORMATS, MAX_BYTES, MAX_PIXELS, Picture, open_image
from medvit.imaging.preprocess import Preprocessing, to_source, to_tensor

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Picture",
    "Preprocessing",
    "open_image",
    "to_source",
    "to_tensor",
]
