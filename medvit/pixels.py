"""Grey and RGB pixel arrays."""

import numpy as np

LUMINANCE = np.array([19595, 38470, 7471], np.uint32)  # ITU-R BT.601 in 65536ths, as Pillow's mode "L"


def as_rgb(images: np.ndarray, grey: bool = False) -> np.ndarray:
    """Return images as RGB, uint8 (..., s, s, 3); a grey image gets three equal channels.

    Args:
        images: uint8; one image or several, grey (..., s, s) or RGB (..., s, s, 3).
        grey: reduce RGB to its luminance, as a model that was trained on grey images expects.
    """
    if images.ndim < 3 or images.shape[-1] != 3:
        return np.repeat(images[..., None], 3, axis=-1)
    if not grey:
        return images
    luminance = (images @ LUMINANCE + 0x8000) >> 16
    return np.repeat(luminance[..., None].astype(np.uint8), 3, axis=-1)
