"""An image classifier that explains itself: prediction, attention, gradients and saliency maps."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import proxy

import numpy as np
import torch
from torch import Tensor, nn

from medvit import imaging
from medvit.errors import MedvitError
from medvit.explain.attention_recorder import AttentionRecorder
from medvit.explain.forward_pass import ForwardPass, Gradients, MapOptions, is_predicted_class
from medvit.explain.layer_outputs import outputs_in_graph
from medvit.explain.methods import METHODS, find_method
from medvit.explain.model_folder import class_index, class_names, open_model, running
from medvit.explain.patch_grid import Size, as_map
from medvit.explain.preparation import Preparation
from medvit.explain.ranking import rank_of_folder
from medvit.explain.structure import Structure, inspect_model
from medvit.models import folder_check
from medvit.models.features import forward_with_features, in_evaluation_mode, unwrap

BATCH_VALUES = 2**28  # attention weights of the images in one forward pass: 1 GiB
CELLS = 7  # that occlusion masks across an image without patches

P = ParamSpec("P")
R = TypeVar("R")


def _without_autocast(method: Callable[P, R]) -> Callable[P, R]:
    """Run in float32 also where the caller is under ``torch.autocast``: some maps would mix two dtypes."""

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False):
            return method(*args, **kwargs)

    return run


class Explainer:
    """Explains the predictions of one image classifier. Safe to share between threads.

        explainer = Explainer("google/vit-base-patch16-224")   # or timm.create_model(...), any nn.Module
        result = explainer("cat.png")
        result.probabilities, result.attentions                # (classes,), (layers, heads, T, T)
        result.heatmap("relevance", target=281)                # float32 (gh, gw)
        result.overlay("relevance", target=281).save("why.png")
        result.heatmap("auto")                                 # by the most faithful method

    Args:
        model: a folder or hub id of transformers or timm, a name of timm, or any image classifier, inputs
            (B, 3 or 1, H, W) to logits (B, classes) or to an output with `logits`. Maps from attention need
            attention that goes through `F.scaled_dot_product_attention`, `nn.MultiheadAttention` or a softmax
            over (B, heads, T, T). The model is not changed: where it is in training mode, of another
            precision than float32 or on a GPU, a copy in evaluation mode and float32 on the CPU is used.
        preprocess: an `imaging.Preprocessing`, a processor of transformers, or a function from a PIL image to
            the input (3, H, W), as torchvision and timm make it. By default that which belongs to the model.

    Raises:
        MedvitError: there is no such model, or it is no image classifier.
    """

    def __init__(self, model: nn.Module | str | Path, preprocess: Any = None):
        self._structures: dict[Size, Structure] = {}
        if isinstance(model, str | Path):
            opened, processor = open_model(model)
            with running(model):
                self._set_model(opened, processor if preprocess is None else preprocess)
                self.structure()
        else:
            self._set_model(unwrap(model), preprocess)

    @torch.inference_mode(False)
    def _set_model(self, model: nn.Module, preprocess: Any) -> None:
        self.config = getattr(model, "config", None)
        self.preparation = Preparation.of(model, preprocess)
        self.model = in_evaluation_mode(model)

    @_without_autocast
    def __call__(
        self, image: imaging.ImageInput | Tensor, target: int | str | None = None, attentions: bool = True
    ) -> ForwardPass:
        """Run the model on one image.

        Args:
            image: a path, the bytes of a file, a PIL image, a uint8 array (H, W, 3); pixels as a uint8 tensor
                (1, 3, H, W), which a preparation other than `imaging.Preprocessing` does not resize; or the
                input of the model as a float tensor (1, 3, H, W).
            target: class, by index or name, whose gradients are computed in the same pass, -1 for the
                predicted class; maps that need them cost nothing more afterwards.
            attentions: whether the attention and its gradients are recorded; CAMs need neither, only the
                gradients of the last layers, which cost little.

        Raises:
            MedvitError: the picture cannot be read, or there is no such class.
        """
        pixels = self.preparation.open(image)
        if target is None:
            (forward_pass,) = self.many(pixels, attentions)
        else:
            inputs = self.preparation(pixels)
            structure = self.structure(inputs)
            index = -1 if is_predicted_class(target) else self.class_index(target)
            if structure.differentiable:
                recorder = AttentionRecorder(gradients_from=0) if structure.layers and attentions else None
                logits, features, index, gradients = self._differentiate(inputs, index, recorder)
                recorded = recorder.attentions(structure.layers) if recorder else None
                (forward_pass,) = self._forward_passes(pixels, inputs, logits, features, recorded)
                forward_pass.gradients[index] = gradients
            else:
                (forward_pass,) = self.many(pixels, attentions)
        forward_pass.explainer = self
        return forward_pass

    @_without_autocast
    def many(self, pixels: Tensor, attentions: bool = True) -> list[ForwardPass]:
        """One forward pass over several images, pixels (N, 3, H, W) in 0..255; see `__call__`.

        The results do not keep this explainer in memory: keep it as long as maps of them are computed.
        """
        if not len(pixels):
            return []
        pixels = pixels.cpu()
        inputs = self.preparation(pixels)
        structure = self.structure(inputs)
        layers = structure.layers if attentions else 0
        most = BATCH_VALUES // max(1, structure.attention_values) if layers else len(pixels)
        if len(pixels) > max(1, most):
            parts = pixels.split(max(1, most))
            return [forward_pass for part in parts for forward_pass in self.many(part)]
        with torch.no_grad(), AttentionRecorder(layers=layers) if layers else nullcontext() as recorder:
            logits, features = self._run(inputs)
        recorded = recorder.attentions(layers) if recorder else None
        return self._forward_passes(pixels, inputs, logits, features, recorded)

    def predict(self, pixels: Tensor, batch_size: int = 64) -> Tensor:
        """Probabilities (N, classes) of many images (N, 3, H, W)."""
        return self.probabilities(self.logits(pixels, batch_size))

    @_without_autocast
    @torch.no_grad()
    def logits(self, pixels: Tensor, batch_size: int = 64) -> Tensor:
        """Logits (N, classes) of many images, pixels (N, 3, H, W) in 0..255."""
        return torch.cat([self._logits(self.preparation(batch.cpu())) for batch in pixels.split(batch_size)])

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., classes) to probabilities; of each class alone if multi-label or one."""
        return logits.sigmoid() if self.multi_label or logits.shape[-1] == 1 else logits.softmax(-1)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of the classes, as the model's configuration says."""
        return getattr(self.config, "problem_type", None) == "multi_label_classification"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; see `model_folder.class_names`."""
        return class_names(self.model, self.structure().classes)

    def class_index(self, target: int | str) -> int:
        """The index of a class that is given by index or by name; MedvitError where there is none."""
        return class_index(target, self.structure().classes, self.model)

    @_without_autocast
    def heatmap(
        self, forward_pass: ForwardPass, method: str, options: MapOptions | None = None
    ) -> np.ndarray:
        """One map by any method; it is kept in `forward_pass`, so computing it again costs nothing.

        Args:
            method: a name in `methods.METHODS`, or "auto" for `best_method`.
            options: by default the predicted class, the last layer, all heads.

        Returns:
            float32 (gh, gw) in the method's own unit, not scaled; see `display.scale`. A copy, which may be
            changed.

        Raises:
            MedvitError: unknown method, one that does not fit the model, or an option that is out of range.
        """
        method = self.best_method(forward_pass.input_size) if method == "auto" else method
        options = options or MapOptions(forward_pass.top)
        self.check_method(method, forward_pass.input_size)
        self.class_index(options.target)
        options.check()
        if options.head_fusion not in ("mean", "max", "min") or not 0 <= options.discard_ratio < 1:
            raise MedvitError("head_fusion is mean, max or min, and discard_ratio from 0 to below 1.")
        key = method, options
        if key not in forward_pass.heatmaps:
            forward_pass.heatmaps[key] = METHODS[method].compute(self, forward_pass, options)
        return forward_pass.heatmaps[key].float().numpy().copy()

    def check_method(self, method: str, size: Size | None = None) -> None:
        """Raise MedvitError for an unknown map, and for one that does not fit the model; see `why_not`."""
        if reason := self.why_not(method, size):
            raise MedvitError(f"{reason} The maps of this model are: {', '.join(self.methods(size))}.")

    def methods(self, size: Size | None = None) -> tuple[str, ...]:
        """Names of the maps that fit the model; see `why_not`."""
        return tuple(name for name in METHODS if not self.why_not(name, size))

    def why_not(self, method: str, size: Size | None = None) -> str:
        """Why a map does not fit the model, a sentence; empty where it does.

        Args:
            size: (H, W) of the input of the model; by default that of the first input.
        """
        kind, structure = find_method(method), self.structure(size=size)
        if kind.needs_attention and not structure.layers:
            return f"{kind.title} needs attention over all patches. {structure.problem}."
        if kind.drops_tokens and structure.first_block is None:
            return (
                f"{kind.title} needs patch tokens that can be dropped behind the position embedding. "
                f"{type(self.model).__name__} uses positions or all of its tokens in its layers as well, or "
                "its tokens are neither (B, T, dim) nor (T, B, dim)."
            )
        if not kind.needs_attention and "cam" in method and structure.cam_layer is None:
            return f"{kind.title} needs a layer of patches. None is known in {type(self.model).__name__}."
        if kind.needs_gradients and not structure.differentiable:
            return (
                f"{kind.title} needs gradients. {type(self.model).__name__} computes its features without "
                "them, as under torch.no_grad."
            )
        return ""

    def best_method(self, size: Size | None = None) -> str:
        """The map that "auto" stands for.

        For a model from a checkpoint folder of medvit, the one that is the most faithful on its card (see
        `faithfulness.measure`); for others relevance, or Grad-CAM where attention cannot be read. Without
        gradients it is rollout or occlusion.
        """
        ranked = rank_of_folder(folder) if (folder := getattr(self.config, "name_or_path", "")) else []
        by_default = ("relevance", "grad_cam", "rollout", "occlusion")
        return next(name for name in (*ranked, *by_default) if name in self.methods(size))

    def is_signed(self, method: str) -> bool:
        """Whether the map may be negative, against the class."""
        return find_method(self.best_method() if method == "auto" else method).signed

    @property
    def has_attention(self) -> bool:
        """Whether the model has attention from which maps can be computed."""
        return self.structure().layers > 0

    @torch.inference_mode(False)
    def of(self, model: nn.Module) -> Explainer:
        """An explainer of another model whose images are prepared in the same way."""
        explainer = copy.copy(self)
        explainer.model, explainer._structures = in_evaluation_mode(model), {}
        return explainer

    @_without_autocast
    @torch.inference_mode(False)
    def structure(self, inputs: Tensor | None = None, size: Size | None = None) -> Structure:
        """The structure of the model, found out at the first call, with inputs (B, 3, H, W) or noise.

        Args:
            size: (H, W) of the inputs, where these are not given; by default of the first ones. A model with
                attention may have another structure at another size.
        """
        if inputs is not None:
            size = inputs.shape[-2], inputs.shape[-1]
        known = next(iter(self._structures.copy().values()), None)
        if known is not None and (size is None or not known.depends_on_size):
            return known
        size = size or self.preparation.input_size
        if size in self._structures:
            return self._structures[size]
        hint = ""
        if inputs is None:
            hint = f" It was tried at {size[0]} x {size[1]} pixels, as it has had no input yet."
            # Not zeros: equal tokens give gradients of zero, and nothing would seem to be read.
            generator = torch.Generator().manual_seed(0)
            inputs = torch.randn(1, self.preparation.channels, *size, generator=generator)
        try:
            with running(type(self.model).__name__):
                self._structures[size] = inspect_model(self.model, self._logits, inputs, known)
        except MedvitError as error:
            if not hint:
                raise
            raise MedvitError(f"{error}{hint}") from error
        return self._structures[size]

    @_without_autocast
    def gradients(self, forward_pass: ForwardPass, target: int, attentions: bool = True) -> Gradients:
        """The gradients of a class's logit; computed at the first call.

        Args:
            attentions: whether those with respect to the attention are needed; without them, only the part of
                the model behind the CAM layer is differentiated.
        """
        known = forward_pass.gradients.get(target)
        if known is None or (attentions and known.attentions is None):
            inputs = self.preparation(forward_pass.pixels)
            read = attentions and self.structure(inputs).layers
            recorder = AttentionRecorder(gradients_from=0) if read else None
            *_, forward_pass.gradients[target] = self._differentiate(inputs, target, recorder)
        return forward_pass.gradients[target]

    @torch.inference_mode(False)
    def _differentiate(
        self, inputs: Tensor, target: int, recorder: AttentionRecorder | None
    ) -> tuple[Tensor, Tensor | None, int, Gradients]:
        """Logits, features, class (-1 becomes the predicted one) and gradients of an input.

        Those of the attention are among them where the recorder, which gets the attention, has a layer to
        start from.
        """
        structure = self.structure(inputs)
        with torch.no_grad(), recorder or nullcontext(), outputs_in_graph(structure.cam_layer) as cam_outputs:
            logits, features = self._run(inputs)
            target = int(logits[0].argmax()) if target == -1 else target
            with_weights = recorder is not None and recorder.gradients_from is not None
            weights = recorder.weights[: structure.layers] if with_weights else []
            sources = [*weights, *cam_outputs[-1:]]
            with running(type(self.model).__name__):
                by_source = torch.autograd.grad(logits[0, target], sources) if sources else ()
        by_attention = torch.stack(by_source[: len(weights)])[:, 0] if weights else None
        maps = [
            as_map(values.detach(), self.model, inputs.shape[-2:], structure.first_patch)
            for values in (*cam_outputs[-1:], *by_source[len(weights) :])
        ]
        return logits.detach(), features, target, Gradients(by_attention, *(maps or (None, None)))

    def _run(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits and features; MedvitError for what the model raises, as for an input of another size."""
        name = type(self.model).__name__
        if self.model.training:
            raise MedvitError(
                f"{name} was put into training mode after its Explainer was made. Call model.eval(), or make "
                "another Explainer."
            )
        with running(name):
            return forward_with_features(self.model, inputs)

    def _logits(self, inputs: Tensor) -> Tensor:
        logits, _ = self._run(inputs)
        folder_check.check_logits(self.model, logits)
        return logits

    def _forward_passes(
        self,
        pixels: Tensor,
        inputs: Tensor,
        logits: Tensor,
        features: Tensor | None,
        attentions: Tensor | None,
    ) -> list[ForwardPass]:
        """`attentions`: (layers, B, heads, T, T)."""
        count = len(logits)
        folder_check.check_logits(self.model, logits)
        structure, (height, width) = self.structure(inputs), inputs.shape[-2:]
        readout, first_patch = structure.readout(), structure.first_patch or 0
        cell = max(1, round(pixels.shape[-1] / CELLS))
        grid = structure.grid or tuple(max(1, side // cell) for side in pixels.shape[-2:])
        # A copy for each of several: a forward pass that is kept must not keep the whole batch.
        own: Any = [None] * count
        if attentions is not None:
            own = [part.clone() if count > 1 else part for part in attentions.unbind(1)]
        known = [None] * count if features is None else features
        each = zip(pixels.split(1), logits, known, own, strict=True)
        return [
            ForwardPass(proxy(self), *image, (grid[0], grid[1]), readout, first_patch, (height, width))
            for image in each
        ]
