"""From uint8 pixels to the training loss: augmentation and mixing, the model, targets and their weights."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.data import class_counts
from medvit.imaging.jpeg import simulate_jpeg
from medvit.imaging.preprocess import Preprocessing
from medvit.training.augment import mix
from medvit.training.dataset import DeviceDataset
from medvit.training.recipes import Recipe

CONSISTENCY_FRACTION = 0.25  # of a batch, for which the consistency loss is computed
Teacher = tuple[nn.Module, Preprocessing]


class TrainingModule(nn.Module):
    """A model with everything around it in training, from uint8 pixels to the loss.

    The Trainer works on this plain module, so its saved states keep the parameter names of the model in
    memory; a Hugging Face ViT would rename them on saving and not find them again on loading.

    Args:
        class_weights: (C,), see `class_weights`.
        multi_label: whether each class is a yes/no question of its own.
        teachers: models whose mean prediction for each augmented image is part of the target, see
            `Recipe.distill`.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        recipe: Recipe,
        class_weights: Tensor | None = None,
        multi_label: bool = False,
        teachers: Sequence[Teacher] = (),
    ):
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        self.preprocessing, self.recipe, self.multi_label = preprocessing, recipe, multi_label
        self.teachers = list(teachers)  # a plain list: teachers are neither trained nor saved
        self.register_buffer("class_weights", class_weights, persistent=False)

    @property
    def kept(self) -> nn.Module:
        """The model that is validated and kept: the one with averaged weights, where the recipe averages."""
        return self.model if self.average is None else self.average

    def forward(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of uint8 pixels (B, 3, s, s) and targets (B, C), see `training_targets`."""
        x, targets = mix(self.recipe.augmentation(pixels), targets, self.recipe.mixup, self.recipe.cutmix)
        if self.teachers:
            targets = torch.lerp(targets, self._teach(x), self.recipe.distill)
        penalty: Tensor | float = 0.0
        if self.recipe.consistency_weight:
            count = math.ceil(CONSISTENCY_FRACTION * len(x))
            both = self.preprocessing(torch.cat([x, simulate_jpeg(x[:count])]))
            logits, jpeg_logits = _logits(self.model, both).split([len(x), count])
            divergences = divergence(logits[:count], jpeg_logits, self.multi_label)
            penalty = self.recipe.consistency_weight * divergences
        else:
            logits = _logits(self.model, self.preprocessing(x))
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, targets) + penalty
        return F.cross_entropy(logits, targets, weight=self.class_weights) + penalty

    @torch.no_grad()
    def predict(self, dataset: DeviceDataset, batch_size: int = 512) -> Tensor:
        """Return the logits (N, C) of the kept model in evaluation mode, float32."""
        self.eval()
        starts = range(0, len(dataset), batch_size)
        batches = (self.preprocessing(dataset[slice(i, i + batch_size)]["pixels"]) for i in starts)
        return torch.cat([_logits(self.kept, x) for x in batches])

    @torch.no_grad()
    def _teach(self, pixels: Tensor) -> Tensor:
        """The mean of the teachers' probabilities for float pixels in 0..255: (B, C)."""
        logits = (_logits(teacher, preprocessing(pixels)) for teacher, preprocessing in self.teachers)
        return torch.stack([_probabilities(z, self.multi_label) for z in logits]).mean(0)


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    # No cache: it would outlive the recording of a CUDA graph, and each weight is cast only once anyway.
    with torch.autocast(
        x.device.type, torch.bfloat16, enabled=bfloat16_is_faster(x.device), cache_enabled=False
    ):
        return model(pixel_values=x).logits.float()


def _probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    return logits.sigmoid() if multi_label else logits.softmax(1)


def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether bfloat16 speeds training up: on GPUs that have it, and on CPUs with instructions for it.

    On one core with AVX-512 BF16 (AMD EPYC), ViT-Tiny at 112 pixels took 5.8 instead of 16.7 ms an image,
    spt_lsa at 28 pixels 3.8 instead of 10.3. With plain AVX-512 it was slower than float32: 28 against 22,
    and 17 against 12.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def divergence(logits: Tensor, other_logits: Tensor, multi_label: bool = False) -> Tensor:
    """Return the symmetric Kullback-Leibler divergence of two predictions (B, C), averaged over the batch.

    As a penalty it makes a model stable against the difference between the two inputs (stability training:
    Zheng et al., CVPR 2016).
    """
    p, q = (_probabilities(z, multi_label) for z in (logits, other_logits))
    return ((p - q) * (logits - other_logits)).sum(1).mean() / 2


def training_targets(
    labels: np.ndarray, classes: int, recipe: Recipe, soft_labels: np.ndarray | None = None
) -> Tensor:
    """Return what is trained for, float32 (N, C).

    Args:
        labels: class indices (N,), or (N, C) of 0 and 1.
        soft_labels: probabilities (N, C) of a teacher, whose fraction in the result is `recipe.distill`.
    """
    if labels.ndim == 2:
        targets = torch.tensor(labels, dtype=torch.float32)
    else:
        targets = class_targets(classes, recipe.label_smoothing, recipe.ordinal_sigma)[torch.tensor(labels)]
    if soft_labels is None:
        return targets
    return torch.lerp(targets, torch.tensor(soft_labels, dtype=torch.float32), recipe.distill)


def class_targets(classes: int, smoothing: float, ordinal_sigma: float) -> Tensor:
    """Return the target of each class: (C, C), rows sum to one.

    Args:
        smoothing: the fraction of each row that is spread evenly over the classes (label smoothing: Szegedy
            et al., 2016).
        ordinal_sigma: where positive, the rest is a Gaussian of this standard deviation in grades (soft
            labels for ordinal regression: Diaz and Marathe, CVPR 2019).
    """
    grades = torch.arange(classes, dtype=torch.float32)
    rows = torch.eye(classes)
    if ordinal_sigma:
        rows = (-((grades - grades[:, None]) ** 2) / (2 * ordinal_sigma**2)).softmax(1)
    return (1 - smoothing) * rows + smoothing / classes


def class_weights(labels: np.ndarray, classes: int, power: float) -> Tensor:
    """Return class weights (C,), frequency ** -power, scaled to a mean of one over the images (N,)."""
    counts = class_counts(labels, classes)
    weights = np.maximum(counts, 1) ** -float(power)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)
