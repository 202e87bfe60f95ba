"""Class activation maps, through the pytorch-grad-cam library.

Grad-CAM: Selvaraju et al. (ICCV 2017). Grad-CAM++: Chattopadhay et al. (WACV 2018). HiResCAM: Draelos and
Carin (2020). LayerCAM: Jiang et al. (IEEE TIP 2021).
"""

from torch import Tensor, from_numpy, nn

from medvit.errors import MedvitError
from medvit.explain.explainer import Choice, Explainer, Seen, twin


class _Logits(nn.Module):
    """The library wants a module that returns a tensor."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values=pixel_values).logits


def grad_cam(explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """Activations weighted by their channel's mean gradient."""
    return cam("GradCAM", explainer, seen, choice)


def grad_cam_plus_plus(explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """Activations weighted by a mean of the positive gradients that favours where the class is seen often."""
    return cam("GradCAMPlusPlus", explainer, seen, choice)


def hires_cam(explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """Activations times their own gradient, element by element."""
    return cam("HiResCAM", explainer, seen, choice)


def layer_cam(explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """Activations times the positive part of their own gradient."""
    return cam("LayerCAM", explainer, seen, choice)


def cam(kind: str, explainer: Explainer, seen: Seen, choice: Choice) -> Tensor:
    """What raises the logit of `choice.target`, seen at the last layer where patches have a gradient.

    Args:
        kind: a class of pytorch_grad_cam.

    Returns:
        (h, w) of that layer, not negative. Where nothing raises the logit, how little each place lowers it,
        so that a map is never empty.
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(choice.target)]
    model = twin(explainer.model)  # the library hangs hooks on it, which nobody else may trip
    layer = target_layer(explainer, model)

    def reshape(output: Tensor) -> Tensor:
        if output.ndim == 4:
            return output
        return seen.to_grid(output[:, seen.patches].transpose(1, 2))  # (B, dim, gh, gw)

    with getattr(pytorch_grad_cam, kind)(_Logits(model), [layer], reshape_transform=reshape) as method:
        inputs = explainer.prepare(seen.pixels).requires_grad_()  # the weights are frozen
        method(inputs, targets)
        found = method.activations_and_grads
        # The library enlarges its result to the image; here one value a patch is wanted.
        values = method.get_cam_image(
            inputs, layer, targets, found.activations[0].numpy(), found.gradients[0].numpy(), False
        )
    raised = from_numpy(values[0])
    return raised.relu() if raised.max() > 0 else raised - raised.min()


def target_layer(explainer: Explainer, model: nn.Module) -> nn.Module:
    """Where to look: in a transformer the LayerNorm before the last attention, else the last convolution.

    Behind that attention only the class token is read, and the gradient of every patch is exactly zero.

    Raises:
        MedvitError: none was found.
    """
    if blocks := getattr(model, "blocks", None):
        return blocks[-1].norm1 if explainer.has_attention else blocks[-1]
    names = {module: name for name, module in explainer.model.named_modules()}
    if explainer.last_attention in names:
        parent = names[explainer.last_attention].rpartition(".")[0]
        while parent:
            for name in ("layernorm_before", "norm1", "layer_norm1"):
                if found := getattr(model.get_submodule(parent), name, None):
                    return found
            parent = parent.rpartition(".")[0]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if explainer.has_attention or not convolutions:
        raise MedvitError(f"No layer for a CAM is known in a {explainer.config.model_type} model.")
    return convolutions[-1]
