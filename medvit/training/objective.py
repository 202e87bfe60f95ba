"""A model with what surrounds it in training: augmentation and mixing before it, the loss after it."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.imaging.jpeg import simulate_jpeg
from medvit.imaging.preprocess import Preprocessing
from medvit.training.augment import mix
from medvit.training.dataset import DeviceDataset
from medvit.training.recipes import Recipe


class TrainingModule(nn.Module):
    """A model with all that surrounds it in training, from uint8 pixels to the loss.

    The Trainer sees this plain module, so its states hold the parameters under the names they have in memory;
    those of a Hugging Face ViT would be renamed on saving, and not be found again on loading.

    Args:
        labels: of the training split; their frequencies matter where the recipe balances the classes.
        classes: how many there are.
        teachers: models whose mean answer to each augmented image is learned too, see `Recipe.distill`.
    """

    targets: Tensor
    weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        recipe: Recipe,
        labels: np.ndarray,
        classes: int,
        teachers: Sequence[tuple[nn.Module, Preprocessing]] = (),
    ):
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        self.preprocessing = preprocessing
        self.recipe = recipe
        self.teachers = list(teachers)  # in a list they are no part of this module: not trained, not saved
        targets, weights = soft_targets(classes, recipe.label_smoothing, recipe.ordinal), None
        if labels.ndim == 1 and recipe.balance:
            weights = class_weights(np.bincount(labels, minlength=classes), recipe.balance)
        self.register_buffer("targets", targets, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    @property
    def kept(self) -> nn.Module:
        """The model that is judged and kept: with the averaged weights, if there are any."""
        return self.model if self.average is None else self.average

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """uint8 pixels (B, 3, s, s), labels (B,) or, multi-label, (B, C), to the training loss."""
        x = self.recipe.augmentation(pixels)
        multi_label = labels.ndim == 2
        x, targets = mix(
            x, labels if multi_label else self.targets[labels], self.recipe.mixup, self.recipe.cutmix
        )
        if self.teachers:
            targets = torch.lerp(targets, self._taught(x, multi_label), self.recipe.distill)
        penalty: Tensor | float = 0.0
        if self.recipe.stability:
            logits, of_jpeg = self._logits(self.model, self.preprocessing(torch.cat([x, simulate_jpeg(x)]))).chunk(2)
            penalty = self.recipe.stability * disagreement(logits, of_jpeg, multi_label)
        else:
            logits = self._logits(self.model, self.preprocessing(x))
        if multi_label:
            return F.binary_cross_entropy_with_logits(logits, targets) + penalty
        return F.cross_entropy(logits, targets, weight=self.weights) + penalty

    @torch.no_grad()
    def predict(self, data: DeviceDataset, batch_size: int = 512) -> Tensor:
        """Logits (N, C) of the kept model, float32, in evaluation mode."""
        self.eval()
        starts = range(0, len(data), batch_size)
        batches = (self.preprocessing(data[slice(i, i + batch_size)]["pixels"]) for i in starts)
        return torch.cat([self._logits(self.kept, x) for x in batches])

    @torch.no_grad()
    def _taught(self, pixels: Tensor, multi_label: bool) -> Tensor:
        logits = (self._logits(teacher, preprocessing(pixels)) for teacher, preprocessing in self.teachers)
        return torch.stack([one.sigmoid() if multi_label else one.softmax(1) for one in logits]).mean(0)

    @staticmethod
    def _logits(model: nn.Module, x: Tensor) -> Tensor:
        # No cache: it would outlive the recording of a CUDA graph, and each weight is cast only once anyway.
        with torch.autocast(
            x.device.type, torch.bfloat16, enabled=bfloat16_pays(x.device), cache_enabled=False
        ):
            return model(pixel_values=x).logits.float()


def bfloat16_pays(device: torch.device) -> bool:
    """Whether training is faster in bfloat16: on GPUs that have it, and CPUs with instructions for it.

    On one core with AVX-512's (AMD EPYC), ViT-Tiny at 112 pixels took 5.8 instead of 16.7 ms an image,
    spt_lsa at 28 pixels 3.8 instead of 10.3. With plain AVX-512 it was slower than float32: 28 against 22,
    and 17 against 12.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def disagreement(logits: Tensor, others: Tensor, multi_label: bool = False) -> Tensor:
    """How far two answers (B, C) to the same images lie apart: the mean of both Kullback-Leibler divergences.

    Kept small, it makes a model stable against what tells the images apart (Zheng et al., CVPR 2016).
    """
    p, q = ((x.sigmoid() if multi_label else x.softmax(1)) for x in (logits, others))
    return ((p - q) * (logits - others)).sum(1).mean() / 2


def soft_targets(classes: int, smoothing: float, ordinal: float) -> Tensor:
    """What a model shall answer for each class: (C, C), rows sum to one.

    Args:
        smoothing: this share of each row is spread evenly (Szegedy et al., 2016).
        ordinal: where positive, neighbouring grades share the rest, by a Gaussian of this width in grades
            (soft ordinal labels: Diaz and Marathe, CVPR 2019).
    """
    grades = torch.arange(classes, dtype=torch.float32)
    rows = torch.eye(classes)
    if ordinal:
        rows = (-((grades - grades[:, None]) ** 2) / (2 * ordinal**2)).softmax(1)
    return (1 - smoothing) * rows + smoothing / classes


def class_weights(counts: np.ndarray, balance: float) -> Tensor:
    """A weight a class (C,), counts ** -balance, scaled so that the mean over the images is one."""
    weights = np.maximum(counts, 1) ** -float(balance)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)
