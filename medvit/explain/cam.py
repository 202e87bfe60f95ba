"""Grad-CAM through the pytorch-grad-cam library. Selvaraju et al.: Grad-CAM (ICCV 2017)."""

import torch
from torch import Tensor, nn

from medvit.explain.attention import to_grid


class _Logits(nn.Module):
    """The library wants a module that returns a tensor."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values=pixel_values).logits


def grad_cam(model: nn.Module, pixel_values: Tensor, target: int) -> Tensor:
    """What raises the logit of class `target`, seen at the last layer where patches have a gradient.

    For a transformer that is the LayerNorm before the last attention: behind it only the class token is
    read, and the gradient of every patch is exactly zero.

    Returns:
        (g, g), not negative
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer, reshape = _target_layer(model)
    targets = [ClassifierOutputTarget(target)]
    with torch.enable_grad(), GradCAM(_Logits(model), [layer], reshape_transform=reshape) as cam:
        cam(pixel_values.clone(), targets)
        (activations,), (gradients,) = (
            cam.activations_and_grads.activations,
            cam.activations_and_grads.gradients,
        )
        # The library enlarges its result to the image; here one value a patch is wanted.
        values = cam.get_cam_image(pixel_values, layer, targets, activations.numpy(), gradients.numpy())
    model.zero_grad(set_to_none=True)
    return torch.from_numpy(values[0]).relu()


def _target_layer(model: nn.Module):
    if model.config.model_type == "medvit_cnn":
        return model.blocks[-1], None
    layer = (
        model.vit.layers[-1].layernorm_before if model.config.model_type == "vit" else model.blocks[-1].norm1
    )
    return layer, lambda tokens: to_grid(tokens[:, 1:].transpose(1, 2))  # (B, dim, g, g)
