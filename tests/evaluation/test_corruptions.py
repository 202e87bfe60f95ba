import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from skimage.color import hsv2rgb, rgb2hsv

from medvit.data import settings, synthetic
from medvit.evaluation import corruptions

PAIRS = [(subset, name) for subset, table in settings.SETTINGS.items() for name in table.corruptions]


def large(subset="bloodmnist", count=1):
    images = np.stack([synthetic.draw(subset, i) for i in range(count)])
    small = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(small, (224, 224), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(("subset", "name"), PAIRS)
def test_five_severities_each_worse_than_the_first(subset, name):
    x = large(subset)
    torch.manual_seed(0)
    steps = [corruptions.corrupt(x, subset, name, severity) for severity in range(1, 6)]
    harm = [float((step - x).abs().mean()) for step in steps]
    assert len(settings.of(subset).corruptions[name]) == 5
    assert all(step.shape == x.shape and step.min() >= 0 and step.max() <= 1 for step in steps)
    assert harm[4] > harm[0] > 0


def as_picture(x):
    return Image.fromarray((x[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def as_array(x):
    return x[0].permute(1, 2, 0).numpy()


def test_brightness_contrast_and_jpeg_are_those_of_pillow():
    x = large()
    x = (x * 255).round() / 255
    for name, enhance in (("brightness_up", ImageEnhance.Brightness), ("contrast_up", ImageEnhance.Contrast)):
        factor = settings.of("bloodmnist").corruptions[name][4]
        theirs = np.asarray(enhance(as_picture(x)).enhance(factor)) / 255
        ours = as_array(corruptions.corrupt(x, "bloodmnist", name, 5))
        assert np.abs(ours - theirs).max() < 1.5 / 255
    buffer = io.BytesIO()
    as_picture(x).save(buffer, "JPEG", quality=15)
    theirs = np.asarray(Image.open(buffer)) / 255
    ours = as_array(corruptions.corrupt(x, "bloodmnist", "jpeg_compression", 3))
    assert np.abs(ours - theirs).mean() < 1.5 / 255


def test_saturation_is_that_of_hsv():
    x = large()
    hsv = rgb2hsv(as_array(x))
    hsv[..., 1] = (hsv[..., 1] + 0.2).clip(0, 1)
    ours = as_array(corruptions.corrupt(x, "bloodmnist", "saturate", 5))
    assert np.abs(ours - hsv2rgb(hsv)).max() < 0.01


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    x = torch.rand(1, 3, 224, 224)
    for name in ("defocus_blur", "motion_blur"):
        blurred = corruptions.corrupt(x, "pathmnist", name, 5)
        assert abs(float(blurred.mean() - x.mean())) < 0.01
        assert blurred.std() < 0.5 * x.std()
