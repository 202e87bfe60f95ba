"""An image classifier that explains itself: prediction, attention, gradients and saliency maps."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from weakref import proxy

import numpy as np
import torch
from torch import Tensor, nn

from medvit import imaging
from medvit.errors import MedvitError
from medvit.explain.attention_recorder import AttentionRecorder
from medvit.explain.forward_pass import ForwardPass, Gradients, MapOptions
from medvit.explain.layer_outputs import outputs_in_graph
from medvit.explain.methods import METHODS
from medvit.explain.model_folder import class_index, class_names, open_model, running
from medvit.explain.patch_grid import as_map, patch_grid
from medvit.explain.preparation import Preparation
from medvit.explain.ranking import rank_of_folder
from medvit.explain.structure import Structure, inspect_model
from medvit.models import folder_check
from medvit.models.features import forward_with_features, in_evaluation_mode, unwrap

BATCH_VALUES = 2**28  # attention weights of the images in one forward pass: 1 GiB
CELLS = 7  # that occlusion masks across an image without patches


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
        self._structure: Structure | None = None
        if isinstance(model, str | Path):
            opened, processor = open_model(model)
            with running(model):
                self._set_model(opened, processor if preprocess is None else preprocess)
                self.structure()
        else:
            self._set_model(unwrap(model), preprocess)

    def _set_model(self, model: nn.Module, preprocess: Any) -> None:
        self.config = getattr(model, "config", None)
        self.preparation = Preparation.of(model, preprocess)
        self.model = in_evaluation_mode(model)

    def __call__(
        self, image: imaging.ImageInput | Tensor, target: int | str | None = None, attentions: bool = True
    ) -> ForwardPass:
        """Run the model on one image.

        Args:
            image: a path, the bytes of a file, a PIL image, a uint8 array (H, W, 3); pixels as a uint8 tensor
                (1, 3, H, W); or the input of the model as a float tensor (1, 3, H, W).
            target: class, by index or name, whose gradients are computed in the same pass, -1 for the
                predicted class; maps that need them cost nothing more afterwards.
            attentions: whether the attention and its gradients are recorded; CAMs need neither, only the
                gradients of the last layers, which cost little.

        Raises:
            MedvitError: the picture cannot be read, or there is no such class.
        """
        pixels = self.preparation.open(image)
        if target is None:
            (forward_pass,) = self.many(pixels)
        else:
            inputs = self.preparation(pixels)
            structure = self.structure(inputs)
            index = -1 if target == -1 else self.class_index(target)
            read = structure.layers and (attentions or structure.cam_layer is None)
            recorder = AttentionRecorder(gradients_from=0 if attentions else None) if read else None
            logits, features, index, gradients = self._differentiate(inputs, index, recorder)
            recorded = recorder.attentions(structure.layers) if recorder else None
            cam = gradients.cam_activations  # of a transformer, it has the grid of the patches
            grid = tuple(cam.shape[-2:]) if structure.layers and recorded is None else None
            (forward_pass,) = self._forward_passes(pixels, inputs, logits, features, recorded, grid)
            forward_pass.gradients[index] = gradients
        forward_pass.explainer = self
        return forward_pass

    def many(self, pixels: Tensor) -> list[ForwardPass]:
        """One forward pass over several images, pixels (N, 3, H, W) in 0..255."""
        inputs = self.preparation(pixels)
        structure = self.structure(inputs)
        layers, most = structure.layers, max(1, BATCH_VALUES // max(1, structure.attention_values))
        if len(pixels) > most:
            return [forward_pass for part in pixels.split(most) for forward_pass in self.many(part)]
        with torch.no_grad(), AttentionRecorder(layers=layers) if layers else nullcontext() as recorder:
            logits, features = forward_with_features(self.model, inputs)
        recorded = recorder.attentions(layers) if recorder else None
        return self._forward_passes(pixels, inputs, logits, features, recorded)

    def predict(self, pixels: Tensor, batch_size: int = 64) -> Tensor:
        """Probabilities (N, classes) of many images (N, 3, H, W)."""
        return self.probabilities(self.logits(pixels, batch_size))

    @torch.no_grad()
    def logits(self, pixels: Tensor, batch_size: int = 64) -> Tensor:
        """Logits (N, classes) of many images, pixels (N, 3, H, W) in 0..255."""
        return torch.cat([self._logits(self.preparation(batch)) for batch in pixels.split(batch_size)])

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., classes) to probabilities; of each class alone where the task is multi-label."""
        return logits.sigmoid() if self.multi_label else logits.softmax(-1)

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

    def heatmap(
        self, forward_pass: ForwardPass, method: str, options: MapOptions | None = None
    ) -> np.ndarray:
        """One map by any method; it is kept in `forward_pass`, so computing it again costs nothing.

        Args:
            method: a name in `methods.METHODS`, or "auto" for `best_method`.
            options: by default the predicted class, the last layer, all heads.

        Returns:
            float32 (gh, gw) in the method's own unit, not scaled; see `display.scale`.

        Raises:
            MedvitError: unknown method, one that does not fit the model, or an option that is out of range.
        """
        method = self.best_method() if method == "auto" else method
        options = options or MapOptions(forward_pass.top)
        self.check_method(method)
        self.class_index(options.target)
        if options.head_fusion not in ("mean", "max", "min") or not 0 <= options.discard_ratio < 1:
            raise MedvitError("head_fusion is mean, max or min, and discard_ratio from 0 to below 1.")
        key = method, options
        if key not in forward_pass.heatmaps:
            forward_pass.heatmaps[key] = METHODS[method].compute(self, forward_pass, options)
        return forward_pass.heatmaps[key].float().numpy()

    def check_method(self, method: str) -> None:
        """Raise MedvitError for an unknown map, and for one that does not fit the model."""
        if method not in METHODS:
            raise MedvitError(f"There is no map {method!r}. The maps are: {', '.join(METHODS)}.")
        if reason := self.why_not(method):
            raise MedvitError(f"{reason} The maps of this model are: {', '.join(self.methods())}.")

    def methods(self) -> tuple[str, ...]:
        """Names of the maps that fit the model."""
        return tuple(name for name in METHODS if not self.why_not(name))

    def why_not(self, method: str) -> str:
        """Why a map does not fit the model, a sentence; empty where it does."""
        kind, structure = METHODS[method], self.structure()
        if kind.needs_attention and not structure.layers:
            return f"{kind.title} needs attention over all patches. {structure.problem}."
        if kind.drops_tokens and structure.first_block is None:
            return (
                f"{kind.title} needs patch tokens that can be dropped behind the position embedding. "
                f"{type(self.model).__name__} uses positions or all of its tokens in its layers as well."
            )
        if not kind.needs_attention and "cam" in method and structure.cam_layer is None:
            return f"{kind.title} needs a layer of patches. None is known in {type(self.model).__name__}."
        return ""

    def best_method(self) -> str:
        """The map that "auto" stands for.

        For a model from a checkpoint folder of medvit, the one that is the most faithful on its card (see
        `faithfulness.measure`); for others relevance, or Grad-CAM where attention cannot be read.
        """
        ranked = rank_of_folder(folder) if (folder := getattr(self.config, "name_or_path", "")) else []
        fallback = "relevance" if self.has_attention else "grad_cam"
        return next((name for name in ranked if name in self.methods()), fallback)

    def is_signed(self, method: str) -> bool:
        """Whether the map may be negative, against the class."""
        return METHODS[self.best_method() if method == "auto" else method].signed

    @property
    def has_attention(self) -> bool:
        """Whether the model has attention from which maps can be computed."""
        return self.structure().layers > 0

    def of(self, model: nn.Module) -> Explainer:
        """An explainer of another model whose images are prepared in the same way."""
        explainer = copy.copy(self)
        explainer.model, explainer._structure = in_evaluation_mode(model), None
        return explainer

    @torch.inference_mode(False)
    def structure(self, inputs: Tensor | None = None) -> Structure:
        """The structure of the model, found out at the first call, with inputs (B, 3, H, W) or noise."""
        if self._structure is None:
            if inputs is None:
                # Not zeros: equal tokens give gradients of zero, and nothing would seem to be read.
                generator = torch.Generator().manual_seed(0)
                size = self.preparation.channels, *self.preparation.input_size
                inputs = torch.randn(1, *size, generator=generator)
            self._structure = inspect_model(self.model, self._logits, inputs)
        return self._structure

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
            logits, features = forward_with_features(self.model, inputs)
            target = int(logits[0].argmax()) if target == -1 else target
            with_weights = recorder is not None and recorder.gradients_from is not None
            weights = recorder.weights[: structure.layers] if with_weights else []
            sources = [*weights, *cam_outputs[-1:]]
            by_source = torch.autograd.grad(logits[0, target], sources) if sources else ()
        by_attention = torch.stack(by_source[: len(weights)])[:, 0] if weights else None
        maps = [
            as_map(values.detach(), self.model, inputs.shape[-2:])
            for values in (*cam_outputs[-1:], *by_source[len(weights) :])
        ]
        return logits.detach(), features, target, Gradients(by_attention, *(maps or (None, None)))

    def _logits(self, inputs: Tensor) -> Tensor:
        output = self.model(inputs)
        logits = getattr(output, "logits", output)
        folder_check.check_logits(self.model, logits)
        return logits

    def _forward_passes(
        self,
        pixels: Tensor,
        inputs: Tensor,
        logits: Tensor,
        features: Tensor | None,
        attentions: Tensor | None,
        grid: tuple[int, ...] | None = None,
    ) -> list[ForwardPass]:
        """`attentions`: (layers, B, heads, T, T). `grid`: of the patches, where there is no attention."""
        count = len(logits)
        folder_check.check_logits(self.model, logits)
        if attentions is not None:
            grid = patch_grid(self.model, inputs.shape[-2:], attentions.shape[-1]) or (0, 0)
        readout = None if grid is None else self.structure().readout(grid[0] * grid[1])
        if grid is None:
            cell = max(1, round(pixels.shape[-1] / CELLS))
            grid = pixels.shape[-2] // cell, pixels.shape[-1] // cell
        # A copy for each of several: a forward pass that is kept must not keep the whole batch.
        own: Any = [None] * count
        if attentions is not None:
            own = [part.clone() if count > 1 else part for part in attentions.unbind(1)]
        known = [None] * count if features is None else features
        each = zip(pixels.split(1), logits, known, own, strict=True)
        return [ForwardPass(proxy(self), *image, (grid[0], grid[1]), readout) for image in each]
