"""Class activation maps, through the pytorch-grad-cam library.

Grad-CAM: Selvaraju et al. (ICCV 2017). Grad-CAM++: Chattopadhay et al. (WACV 2018). HiResCAM: Draelos and
Carin (2020). LayerCAM: Jiang et al. (IEEE TIP 2021).
"""

import functools
from typing import TYPE_CHECKING

from torch import Tensor, from_numpy, nn

from medvit.errors import MedvitError
from medvit.explain.explainer import Explainer, ForwardPass, MapOptions

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import BaseCAM


def grad_cam(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """Activations weighted by their channel's mean gradient."""
    return cam("GradCAM", explainer, seen, choice)


def grad_cam_plus_plus(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """Activations weighted by a mean of the positive gradients that favours where the class is seen often."""
    return cam("GradCAMPlusPlus", explainer, seen, choice)


def hires_cam(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """Activations times their own gradient, element by element."""
    return cam("HiResCAM", explainer, seen, choice)


def layer_cam(explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """Activations times the positive part of their own gradient."""
    return cam("LayerCAM", explainer, seen, choice)


def cam(kind: str, explainer: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """What raises the logit of `choice.target`, seen at the last layer where patches have a gradient.

    Args:
        kind: a class of pytorch_grad_cam.

    Returns:
        (h, w) of that layer, not negative. Where nothing raises the logit, how little each place lowers it,
        so that a map is never empty.

    Raises:
        MedvitError: the model has no layer that a CAM could look at.
    """
    found = explainer.gradients(seen, choice.target)
    if found.activations is None or found.by_activations is None:
        raise MedvitError(f"No layer for a CAM is known in a {explainer.config.model_type} model.")
    # Its own call would run the model again, with hooks, and enlarge the result to the image.
    arrays = found.activations.numpy(), found.by_activations.numpy()
    values = _library(kind).get_cam_image(None, None, None, *arrays, False)
    raised = from_numpy(values[0])
    return raised.relu() if raised.max() > 0 else raised - raised.min()


@functools.cache
def _library(kind: str) -> "BaseCAM":
    """The library's method. It wants a model, which the step that we take from it does not look at."""
    import pytorch_grad_cam

    return getattr(pytorch_grad_cam, kind)(nn.Linear(1, 1), target_layers=[])
