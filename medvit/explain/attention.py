"""Raw attention of one layer: what the class token, or a patch, takes from each patch."""

from torch import Tensor

from medvit.errors import MedvitError
from medvit.explain.explainer import Explainer, ForwardPass, MapOptions


def attention(_: Explainer, seen: ForwardPass, choice: MapOptions) -> Tensor:
    """The attention weights of one layer, by one head or the mean of all, from one token to the patches.

    Returns:
        (gh, gw); together with what goes to the other tokens they sum to one.

    Raises:
        MedvitError: there is no such layer, head or patch.
    """
    assert seen.attentions is not None
    layers, heads = seen.attentions.shape[:2]
    patches = seen.grid[0] * seen.grid[1]
    if not -layers <= choice.layer < layers:
        raise MedvitError(f"There is no layer {choice.layer}; the model has {layers}.")
    if choice.head is not None and not 0 <= choice.head < heads:
        raise MedvitError(f"There is no head {choice.head}; the model has {heads}.")
    if choice.patch is not None and not 0 <= choice.patch < patches:
        raise MedvitError(f"There is no patch {choice.patch}; the image has {patches}.")
    token = 0 if choice.patch is None else choice.patch - patches
    rows = seen.attentions[choice.layer, :, token, seen.patches]  # (heads, patches)
    return seen.to_grid(rows.mean(0) if choice.head is None else rows[choice.head])
