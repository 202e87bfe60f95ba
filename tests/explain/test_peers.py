"""The examples of other libraries in docs/explaining.md give the same maps as the lines beside them."""

import re

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from torchvision.models import resnet18

import medvit

from ..conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "explaining.md").read_text()
GRAD_CAM, TORCHCAM, CAPTUM = re.findall(
    r"```python\n(.*?)```", re.search(r"## Coming from .*?(?=\n## )", PAGE, re.DOTALL)[0], re.DOTALL
)


def run(model, *examples):
    """Run examples one after the other; the map of the other library and ours of the last one."""
    torch.manual_seed(1)
    values = dict(model=model.eval(), inputs=torch.randn(1, 3, 224, 224), medvit=medvit)
    for example in examples:
        exec(example, values)  # noqa: S102
    theirs = np.asarray(torch.as_tensor(values["theirs"]).detach())
    assert np.ptp(theirs) > 0
    return theirs, values["ours"]


def vit(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model(name, depth=2)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_pytorch_grad_cam(name):
    theirs, ours = run(vit(name), GRAD_CAM)
    # The library scales the map, enlarges it to the input, and scales it again.
    enlarged = scale_cam_image(scale_cam_image(scale_cam_image(ours[None]), theirs.shape))[0]
    np.testing.assert_allclose(enlarged, theirs, atol=1e-3)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_torchcam(name):
    pytest.importorskip("torchcam")
    theirs, ours = run(vit(name), GRAD_CAM, TORCHCAM)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_captum():
    pytest.importorskip("captum")
    torch.manual_seed(0)
    theirs, ours = run(resnet18(num_classes=1000), CAPTUM)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.max())
