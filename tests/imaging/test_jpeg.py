"""The JPEG simulation against the encoder."""

import numpy as np
import pytest

from medvit.data import synthetic
from medvit.imaging import to_tensor
from medvit.imaging.jpeg import jpeg_round_trip, simulate_jpeg


def test_a_round_trip_keeps_form_and_most_of_the_content():
    image = synthetic.draw("bloodmnist", 0)
    for pixels in (image, image[..., 0]):
        result = jpeg_round_trip(pixels, 90)
        assert (result.shape, result.dtype) == (pixels.shape, np.uint8)
        assert 0 < np.abs(result.astype(int) - pixels).mean() < 5


@pytest.mark.parametrize("quality", [60, 75, 95])
def test_the_simulation_is_close_to_the_encoder(quality):
    images = np.stack([synthetic.draw("pathmnist", i) for i in range(8)])
    encoded = np.stack([jpeg_round_trip(image, quality) for image in images])
    pixels, expected = to_tensor(images).float(), to_tensor(encoded).float()
    error = (expected - simulate_jpeg(pixels, quality)).abs().mean()
    assert error < (expected - pixels).abs().mean() / 2
    assert error < 1.5  # grey levels
