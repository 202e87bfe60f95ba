"""What a map is computed from: one image's forward pass, and the options of the map."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from PIL import Image
from torch import Tensor

from medvit.errors import MedvitError
from medvit.explain import display

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer


@dataclass(frozen=True)
class MapOptions:
    """Options of a map; each method uses those that apply to it.

    Attributes:
        target: class index.
        layer: index, negative from the end.
        head: index, or None for the mean of all.
        patch: index (row by row) of the patch whose attention is shown, None for what the classifier reads.
        head_fusion: how rollout fuses heads, "mean", "max" or "min".
        discard_ratio: fraction of each layer's attention, the weakest, that rollout discards; 0 to below 1.
        token_subsets: number of random subsets of half of the tokens that token occlusion compares; 0 for
            leaving out one token at a time.
    """

    target: int
    layer: int = -1
    head: int | None = None
    patch: int | None = None
    head_fusion: str = "mean"
    discard_ratio: float = 0.0
    token_subsets: int = 0

    def check(self) -> None:
        """Raise MedvitError for an option of another type."""
        for name in ("layer", "head", "patch", "token_subsets"):
            value = getattr(self, name)
            is_number = isinstance(value, SupportsIndex) and not isinstance(value, bool)
            if not is_number and not (value is None and name in ("head", "patch")):
                raise MedvitError(f"{name} is a whole number, not {value!r}.")
        if not isinstance(self.discard_ratio, Real):
            raise MedvitError(f"discard_ratio is a number, not {self.discard_ratio!r}.")


@dataclass(frozen=True)
class Gradients:
    """The gradients of one class's logit.

    Attributes:
        attentions: with respect to every attention weight, (layers, heads, T, T); None where the model has no
            attention, or where only the CAM layer was differentiated.
        cam_activations, cam_gradients: output of the CAM layer and the gradient with respect to it,
            (1, C, h, w); None where the model has no such layer.
    """

    attentions: Tensor | None
    cam_activations: Tensor | None
    cam_gradients: Tensor | None


@dataclass
class ForwardPass:
    """One image through a model.

    Attributes:
        explainer: the explainer that computed it; only a weak reference where it was computed by
            `Explainer.many`, so that forward passes that are kept do not keep the model in memory.
        pixels: (1, 3, H, W) in 0..255, as given.
        logits: (classes,)
        features: (D,), the input of the model's `classifier`; None where there is no such module.
        recorded: the attention, where it was recorded in this pass; see `attentions`.
        grid: patches down and across; without attention, the cells that occlusion masks.
        readout: (T,), the weight with which the classifier reads each token, summing to one; see
            `structure.Structure`. None where the model has no attention that can be read.
        first_patch: index of the first patch among the tokens.
        input_size: (H, W) of the input of the model.
        gradients: by class, the gradients computed so far; see `Explainer.gradients`.
        heatmaps: by method and options, the maps computed so far.
    """

    explainer: Explainer
    pixels: Tensor
    logits: Tensor
    features: Tensor | None
    recorded: Tensor | None
    grid: tuple[int, int]
    readout: Tensor | None = None
    first_patch: int = 0
    input_size: tuple[int, int] | None = None
    gradients: dict[int, Gradients] = field(default_factory=dict)
    heatmaps: dict[tuple[str, MapOptions], Tensor] = field(default_factory=dict)

    @property
    def attentions(self) -> Tensor | None:
        """(layers, heads, T, T), or None where the model has none that can be read.

        The tokens `patches` are the patches, row by row; the others, usually before them, are such as the
        class token. Where it was not recorded in the first pass, this costs another one, once.
        """
        if self.recorded is None and self.readout is not None:
            self.recorded = self.explainer.many(self.pixels)[0].recorded
        return self.recorded

    @property
    def probabilities(self) -> Tensor:
        """(classes,)"""
        return self.explainer.probabilities(self.logits)

    @property
    def top(self) -> int:
        """The class of the highest logit."""
        return int(self.logits.argmax())

    @property
    def picture(self) -> np.ndarray:
        """The pixels as uint8 (H, W, 3)."""
        return display.to_picture(self.pixels[0])

    @property
    def patches(self) -> slice:
        """The tokens that are patches."""
        return slice(self.first_patch, self.first_patch + self.grid[0] * self.grid[1])

    def to_grid(self, values: Tensor) -> Tensor:
        """Values of the patches (..., gh * gw) to (..., gh, gw)."""
        return values.unflatten(-1, self.grid)

    def heatmap(self, method: str = "auto", target: int | str | None = None, **options: Any) -> np.ndarray:
        """The saliency map of a class by any method; see `Explainer.heatmap`.

        Args:
            method: a name in `methods.METHODS`, or "auto" for `Explainer.best_method`.
            target: index or name of a class; -1 or None for the predicted class.
            options: other fields of `MapOptions`.

        Returns:
            float32 (gh, gw), in the method's own unit.
        """
        index = self.top if is_predicted_class(target) else self.explainer.class_index(target)
        return self.explainer.heatmap(self, method, MapOptions(index, **options))

    def overlay(
        self, method: str = "auto", target: int | str | None = None, opacity: float = 0.5, **options: Any
    ) -> Image.Image:
        """The map laid over the picture; arguments as `heatmap` takes them."""
        values = self.heatmap(method, target, **options)
        return display.overlay(self.picture, display.scale(values, self.explainer.is_signed(method)), opacity)


def is_predicted_class(target: int | str | None) -> bool:
    """Whether a target stands for the predicted class: None or -1."""
    return target is None or (not getattr(target, "ndim", 0) and target == -1)
