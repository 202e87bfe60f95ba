"""Ask a model about one image: what it says, its attention, and gradients for any class.

An `Explainer` works on a twin of the model that shares its weights: in evaluation mode, frozen, with
attention that can be recorded. So the model itself is never changed, hooked or differentiated.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from medvit.errors import MedvitError
from medvit.imaging.decode import ImageInput
from medvit.models.attention import Record, capture_activations, make_recordable, read, recording
from medvit.models.fused_vit import lean


@dataclass(frozen=True)
class MapOptions:
    """What a map is asked for; each method reads what it needs.

    `target`: class index. `layer`: index, negative from the end. `head`: index, or None for all. `patch`:
    index of the patch (row by row) whose attention is shown, None for the class token. `fusion`: how rollout
    joins heads, "mean", "max" or "min". `discard`: the share of each layer's weakest attention that rollout
    drops.
    """

    target: int
    layer: int = -1
    head: int | None = None
    patch: int | None = None
    fusion: str = "mean"
    discard: float = 0.0


@dataclass(frozen=True)
class Gradients:
    """What raises the logit of one class.

    `attentions`: its gradient by every attention weight (layers, heads, T, T), or None. `activations`,
    `by_activations`: what came out of the CAM layer and the gradient by it, (1, C, h, w); None where the
    model has no such layer.
    """

    attentions: Tensor | None
    activations: Tensor | None
    by_activations: Tensor | None


@dataclass
class ForwardPass:
    """One image through the model.

    `pixels` (1, 3, H, W) in 0..255, as given. `logits` (classes,). `features` (D,), what the classifier was
    given, or None where it has another name. `attentions` (layers, heads, T, T), or None where the model has
    none; the last `grid[0] * grid[1]` tokens are the patches, row by row, the first is the class token.
    `grid`: patches down and across; without attention, the cells that are erased one at a time. `gradients`,
    `maps`: of the classes, and by the methods, that were asked for.
    """

    pixels: Tensor
    logits: Tensor
    features: Tensor | None
    attentions: Tensor | None
    grid: tuple[int, int]
    gradients: dict[int, Gradients] = field(default_factory=dict)
    maps: dict[tuple[str, MapOptions], Tensor] = field(default_factory=dict)

    @property
    def picture(self) -> np.ndarray:
        """The pixels as uint8 (H, W, 3)."""
        return self.pixels[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()

    @property
    def patches(self) -> slice:
        """The tokens that are patches; before them stand the class token and, in some models, others."""
        return slice(-self.grid[0] * self.grid[1], None)

    def to_grid(self, values: Tensor) -> Tensor:
        """Values of the patches (..., gh * gw) to (..., gh, gw)."""
        return values.unflatten(-1, self.grid)


class Explainer:
    """Explains the answers of one image classifier. Safe to share between threads.

    Args:
        model: any Hugging Face image classifier whose attention goes through transformers' attention
            interface and that has a class token (ViT, DeiT, DINOv2, ...), one of medvit's, or any other for
            the methods that need no attention.
        prepare: what turns pixels (B, 3, H, W) in 0..255 into the model's input, as `Preprocessing` does.
            Maps that erase parts of a picture do so before it.
        open_picture: what turns any picture into such pixels (1, 3, H, W), for those who call with a picture.
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Callable[[Tensor], Tensor],
        open_picture: Callable[[ImageInput], Tensor] | None = None,
    ):
        self.original = model
        self.model = frozen_copy(model)
        self.prepare = prepare
        self.open_picture = open_picture
        self.config = model.config
        if (layer := find_cam_layer(self.model)) is not None:
            capture_activations(layer)

    @property
    def has_attention(self) -> bool:
        """Whether there is an attention from a class token to show."""
        return bool(getattr(self.config, "num_attention_heads", None))

    def __call__(self, image: Tensor | ImageInput, target: int | None = None) -> ForwardPass:
        """One forward pass over one image: pixels (1, 3, H, W) in 0..255, or any picture where
        `open_picture` is given.

        With a `target`, or -1 for the class that comes out on top, a backward pass follows at once, and the
        maps that need that class's gradient cost nothing more.

        Raises:
            MedvitError: a picture that cannot be read, or a transformer whose attention cannot be.
        """
        if isinstance(image, Tensor):
            pixels = image
        else:
            assert self.open_picture is not None, "give pixels, or build the Explainer with `open_picture`"
            pixels = self.open_picture(image)
        if target is not None:
            return self._differentiated(pixels, target)
        return self.many(pixels)[0]

    def many(self, pixels: Tensor) -> list[ForwardPass]:
        """One forward pass over several images (N, 3, H, W)."""
        with torch.no_grad(), recording() as record:
            inputs = self.prepare(pixels)
            logits, features = read(self.model, inputs)
        return self._seen(pixels, inputs, logits, features, record)

    def gradients(self, seen: ForwardPass, target: int) -> Gradients:
        """What raises the logit of a class; one pass there and back at the first time."""
        if target not in seen.gradients:
            seen.gradients |= self._differentiated(seen.pixels, target).gradients
        return seen.gradients[target]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., classes) to probabilities: of each class alone where the task is multi-label."""
        multi_label = self.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if multi_label else logits.softmax(-1)

    @torch.no_grad()
    def ask(self, pixels: Tensor, batch: int = 64) -> Tensor:
        """Probabilities (N, classes) of many images (N, 3, H, W)."""
        logits = [self.model(pixel_values=self.prepare(part)).logits for part in pixels.split(batch)]
        return self.probabilities(torch.cat(logits))

    def _differentiated(self, pixels: Tensor, target: int) -> ForwardPass:
        with torch.enable_grad(), recording(with_gradients=True) as record:
            inputs = self.prepare(pixels)
            logits, features = read(self.model, inputs)
            (seen,) = self._seen(pixels, inputs, logits.detach(), features, record)
            target = int(logits.argmax()) if target == -1 else target
            layers = [] if record.activations is None else [record.activations]
            found = torch.autograd.grad(logits[0, target], [*record.weights, *layers])
        attentions = torch.stack(found[: len(record.weights)])[:, 0] if record.weights else None
        kept = [self._as_map(seen, one.detach()) for one in (*layers, *found[len(record.weights) :])]
        seen.gradients[target] = Gradients(attentions, *(kept or (None, None)))
        return seen

    @staticmethod
    def _as_map(seen: ForwardPass, output: Tensor) -> Tensor:
        """Tokens (1, T, C) to the map of their patches (1, C, gh, gw); a map stays as it is."""
        return output if output.ndim == 4 else seen.to_grid(output[:, seen.patches].transpose(1, 2))

    def _seen(
        self, pixels: Tensor, inputs: Tensor, logits: Tensor, features: Tensor | None, record: Record
    ) -> list[ForwardPass]:
        given = [None] * len(logits) if features is None else features
        each = list(zip(pixels.split(1), logits, given, strict=True))
        if not self.has_attention:
            cell = max(1, round(pixels.shape[-1] / 7))
            grid = pixels.shape[-2] // cell, pixels.shape[-1] // cell
            return [ForwardPass(*one, None, grid) for one in each]
        layers = record.weights or [queries for queries, _, _ in record.scores]
        if len({layer.shape for layer in layers}) != 1:
            raise MedvitError(
                f"The attention of a {self.config.model_type} model cannot be read: its layers differ in "
                "shape, or do not use transformers' attention interface. Those of ViT, DeiT and DINOv2 can."
            )
        attentions = record.attentions()  # (layers, B, heads, T, T)
        height, width = (side // self.config.patch_size for side in inputs.shape[-2:])
        grid = self._grid(height, width, attentions.shape[-1])
        if len(each) == 1:
            return [ForwardPass(*each[0], attentions[:, 0], grid)]
        # A copy for each: one that is kept must not keep the whole batch.
        return [ForwardPass(*one, attentions[:, i].clone(), grid) for i, one in enumerate(each)]

    def _grid(self, height: int, width: int, tokens: int) -> tuple[int, int]:
        if not 1 <= tokens - height * width <= 8:  # the class token, and what some models put beside it
            raise MedvitError(
                f"A {self.config.model_type} model with {tokens} tokens for {height} x {width} patches has "
                "no class token, so its maps cannot be drawn."
            )
        return height, width


def find_cam_layer(model: nn.Module) -> nn.Module | None:
    """Where a CAM looks: in a transformer the LayerNorm before the last attention, else the last convolution.

    Behind that attention only the class token is read, and the gradient of every patch is exactly zero.
    """
    norms = ("layernorm_before", "norm1", "layer_norm1")
    layers = [module for name, module in model.named_modules() if name.rpartition(".")[2] in norms]
    # In medvit's CNN, what its last residual block gives, rather than the last convolution inside it.
    layers = layers or list(getattr(model, "blocks", []))
    layers = layers or [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return layers[-1] if layers else None


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy of a model that shares its weights, in evaluation mode, frozen, with recordable attention.

    That of a Hugging Face ViT has lean layers, which hold a second copy of a quarter of the weights.
    """
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    copied = copy.deepcopy(model, shared).eval()
    if getattr(model, "_supports_sdpa", False):
        make_recordable(copied)
        lean(copied)
    return copied
