"""Images for the screen: enlarged source images, and heatmaps over them."""

import base64
import io

import numpy as np
from PIL import Image

from medvit.explain.display import DISPLAY_SIDE, apply_colormap, enlarge, overlay

__all__ = ["DISPLAY_SIDE", "apply_colormap", "data_url", "enlarge", "overlay"]


def data_url(image: np.ndarray | Image.Image) -> str:
    """Return an image, uint8 (H, W, 3), as the ``data:`` URL of a PNG."""
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, "PNG", compress_level=1)  # four times as fast as by default, and a third larger
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
