"""The table of maps. A new one is a file with a function like these, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from medvit.errors import MedvitError
from medvit.explain.attention import attention
from medvit.explain.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
from medvit.explain.forward_pass import ForwardPass, MapOptions
from medvit.explain.occlusion import occlusion
from medvit.explain.relevance import relevance
from medvit.explain.rollout import gradient_rollout, rollout
from medvit.explain.token_occlusion import token_occlusion

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


@dataclass(frozen=True)
class Method:
    """A kind of map.

    Attributes:
        title: its name on screens.
        about: what it shows, one sentence.
        compute: the function that computes it, one value a patch (gh, gw).
        needs_attention: whether it needs a model with attention over all patches.
        drops_tokens: whether it needs a transformer whose patch tokens can be dropped.
        by_class: whether it depends on the class.
        needs_gradients: whether it needs the gradients of the class.
        signed: whether it may be negative, against the class.
    """

    title: str
    about: str
    compute: Callable[[Explainer, ForwardPass, MapOptions], Tensor]
    needs_attention: bool = True
    drops_tokens: bool = False
    by_class: bool = True
    needs_gradients: bool = False
    signed: bool = False

    def call_options(self, target: int = -1) -> dict[str, Any]:
        """Arguments of `Explainer.__call__` for a forward pass that records what this map needs, and no more.

        Args:
            target: index of the class, -1 for the predicted one.
        """
        return {"target": target if self.needs_gradients else None, "attentions": self.needs_attention}


METHODS = {
    "attention": Method(
        "Attention",
        "What the class token, or a patch, attends to in one layer.",
        attention,
        by_class=False,
    ),
    "rollout": Method(
        "Rollout",
        "Attention followed through all layers (Abnar and Zuidema, 2020).",
        rollout,
        by_class=False,
    ),
    "gradient_rollout": Method(
        "Gradient rollout",
        "Rollout in which attention counts as much as it raises the chosen class.",
        gradient_rollout,
        needs_gradients=True,
    ),
    "relevance": Method(
        "Relevance",
        "Attention times gradient, through all layers (Chefer et al., 2021).",
        relevance,
        needs_gradients=True,
    ),
    "grad_cam": Method(
        "Grad-CAM",
        "What raises the chosen class (Selvaraju et al., 2017).",
        grad_cam,
        needs_gradients=True,
        needs_attention=False,
    ),
    "grad_cam_plus_plus": Method(
        "Grad-CAM++",
        "Grad-CAM for a class that appears in several places (Chattopadhay et al., 2018).",
        grad_cam_plus_plus,
        needs_gradients=True,
        needs_attention=False,
    ),
    "hires_cam": Method(
        "HiResCAM",
        "Each place by its own gradient (Draelos and Carin, 2020).",
        hires_cam,
        needs_gradients=True,
        needs_attention=False,
    ),
    "layer_cam": Method(
        "LayerCAM",
        "Each place by the positive part of its own gradient (Jiang et al., 2021).",
        layer_cam,
        needs_gradients=True,
        needs_attention=False,
    ),
    "occlusion": Method(
        "Occlusion",
        "The probability that the chosen class loses when a patch is blurred (Zeiler and Fergus, 2014).",
        occlusion,
        needs_attention=False,
        signed=True,
    ),
    "token_occlusion": Method(
        "Token occlusion",
        "The probability that the chosen class loses when a patch token is dropped from the sequence.",
        token_occlusion,
        drops_tokens=True,
        signed=True,
    ),
}


def find_method(name: str) -> Method:
    """A method by its name in `METHODS`; MedvitError where there is none."""
    if name not in METHODS:
        raise MedvitError(f"There is no map {name!r}. The maps are: {', '.join(METHODS)}.")
    return METHODS[name]
