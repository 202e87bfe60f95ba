"""Class activation maps, with the weights of the pytorch-grad-cam library.

Grad-CAM: Selvaraju et al. (ICCV 2017). Grad-CAM++: Chattopadhay et al. (WACV 2018). HiResCAM: Draelos and
Carin (2020). LayerCAM: Jiang et al. (IEEE TIP 2021).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import Tensor, from_numpy, nn

from medvit.errors import MedvitError
from medvit.explain.forward_pass import ForwardPass, MapOptions
from medvit.slow_imports import pytorch_grad_cam

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


def grad_cam(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Activations weighted by the mean gradient of their channel."""
    return cam("GradCAM", explainer, forward_pass, options)


def grad_cam_plus_plus(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Activations weighted by a mean of positive gradients, for a class that appears in several places."""
    return cam("GradCAMPlusPlus", explainer, forward_pass, options)


def hires_cam(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Activations times their own gradient, element by element."""
    return cam("HiResCAM", explainer, forward_pass, options)


def layer_cam(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """Activations times the positive part of their own gradient."""
    return cam("LayerCAM", explainer, forward_pass, options)


def cam(kind: str, explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """What raises the logit of the class, at the CAM layer; see `structure.Structure`.

    Args:
        kind: a class of pytorch_grad_cam.

    Returns:
        (h, w) of that layer, not negative. Where nothing raises the logit, how little each place lowers it,
        so that a map is never empty.

    Raises:
        MedvitError: the model has no layer for a CAM.
    """
    gradients = explainer.gradients(forward_pass, options.target, attentions=False)
    if gradients.cam_activations is None or gradients.cam_gradients is None:
        raise MedvitError(f"No layer for a CAM is known in {type(explainer.model).__name__}.")
    arrays = gradients.cam_activations.numpy(), gradients.cam_gradients.numpy()
    values = from_numpy(_library(kind).get_cam_image(None, None, None, *arrays, False)[0])
    return values.relu() if values.max() > 0 else values - values.min()


@functools.cache
def _library(kind: str) -> Any:
    """The library's method; its constructor needs a model, its `get_cam_image` does not.

    Calling it with our model would run the model again, with hooks, and enlarge the map to the image.
    """
    return getattr(pytorch_grad_cam, kind)(nn.Linear(1, 1), target_layers=[])
