"""What differs between the datasets, in one table: everything that is not a fact of MedMNIST itself.

A dataset without an entry gets the defaults of `DatasetSettings`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medvit.data import drawings

HALDER = "Halder et al., Scientific Reports 14, 12567 (2024)"
YANG = "Yang et al., MedMNIST v2, Scientific Data 10, 41 (2023)"

# JPEG and noise in training teach a model what saving as JPEG does to an image. A rotation by any angle
# blurs, while the images seen later are sharp: with quarter turns instead, validation accuracy of the CNN on
# PathMNIST rose from 80 to 87 %, and of the fine-tuned ViT on BloodMNIST, after three epochs, from 93.2 to
# 95.4 %.
COLOUR: dict[str, Any] = dict(
    flip_y=True, rot90=True, degrees=0, scale=0, translate=0, saturation=0.1, jpeg=0.5, noise=3
)
HISTOLOGY: dict[str, Any] = COLOUR | dict(saturation=0.2, brightness=0.2, contrast=0.2, noise=5)
GREY: dict[str, Any] = dict(degrees=10, brightness=0.15, contrast=0.15)

EPOCHS: dict[str, dict[str, int]] = {
    "cpu": {"cnn": 10, "vit": 15, "spt_lsa": 15, "vit_finetuned": 5},
    "gpu": {"cnn": 60, "vit": 100, "spt_lsa": 100, "vit_finetuned": 20},
}


@dataclass(frozen=True)
class PublishedResult:
    """One published test accuracy (0..1). `pixels`: side of the source images, before any enlarging."""

    model: str
    parameters: str
    pixels: int
    protocol: str
    accuracy: float
    source: str


def _vit_b(accuracy: float) -> PublishedResult:
    protocol = "enlarged to 224; one run, best validation loss"
    return PublishedResult("ViT-B/16, fine-tuned", "86 M", 28, protocol, accuracy, HALDER)


def _resnet18(accuracy: float) -> PublishedResult:
    return PublishedResult("ResNet-18", "11 M", 28, "from scratch; best validation AUC", accuracy, YANG)


@dataclass(frozen=True)
class DatasetSettings:
    """Settings of one dataset.

    `positive_class`: of two classes, the one that sensitivity is about. `conformal_level`: default coverage
    of prediction sets. `rotatable`: the images have no upright, so test-time augmentation uses all eight
    flips and quarter turns, not the mirror image alone. `augmentation`: fields of
    `medvit.training.augment.Augmentation` that differ from its defaults. `epochs`: {preset: {model: epochs}}
    of the training recipes. `train_images`: how many training images the CPU recipe uses (None: all).
    `small`: hundreds of training images, so small batches and learning rates. `ordered`: the classes are
    grades. `seeds`: how many a reported result averages. `corruptions`: {MedMNIST-C corruption: parameter at
    severities 1 to 5}. `draw`: draws a synthetic example (28, 28, 3) in 0..1 from a random generator.
    """

    positive_class: int = 1
    conformal_level: float = 0.90
    rotatable: bool = False
    augmentation: Mapping[str, Any] = field(default_factory=lambda: dict(GREY))
    epochs: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: dict(EPOCHS))
    train_images: int | None = None
    small: bool = False
    ordered: bool = False
    seeds: int = 5
    corruptions: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    draw: Callable[[np.random.Generator], np.ndarray] = drawings.speckle
    published: tuple[PublishedResult, ...] = ()


_JPEG = (50, 30, 15, 10, 7)
_DOWN = (0.9, 0.8, 0.7, 0.6, 0.5)

SETTINGS = {
    "bloodmnist": DatasetSettings(
        conformal_level=0.99,
        rotatable=True,
        augmentation=COLOUR,
        epochs={
            "cpu": {"cnn": 10, "vit": 10, "spt_lsa": 12, "vit_finetuned": 8},
            "gpu": {"cnn": 100, "vit": 200, "spt_lsa": 200, "vit_finetuned": 40},
        },
        seeds=3,
        corruptions={
            "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
            "jpeg_compression": _JPEG,
            "defocus_blur": ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1)),
            "motion_blur": ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9)),
            "brightness_up": (1.1, 1.2, 1.3, 1.35, 1.4),
            "brightness_down": _DOWN,
            "contrast_up": (1.1, 1.15, 1.2, 1.25, 1.3),
            "contrast_down": _DOWN,
            "saturate": (0.05, 0.1, 0.15, 0.17, 0.2),
            "stain_deposit": (1, 2, 3, 3, 3),
            "bubble": ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12)),
        },
        draw=drawings.blood,
        published=(_vit_b(0.9790), _resnet18(0.958)),
    ),
    "breastmnist": DatasetSettings(
        positive_class=0,  # malignant
        epochs={
            "cpu": {"cnn": 40, "vit": 60, "spt_lsa": 60, "vit_finetuned": 25},
            "gpu": {"cnn": 200, "vit": 400, "spt_lsa": 400, "vit_finetuned": 80},
        },
        small=True,
        corruptions={
            "pixelate": (0.3, 0.25, 0.2, 0.15, 0.1),
            "jpeg_compression": _JPEG,
            "speckle_noise": (0.1, 0.15, 0.2, 0.25, 0.3),
            "motion_blur": ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
            "brightness_up": (1.4, 1.5, 1.6, 1.8, 2.0),
            "brightness_down": (0.55, 0.5, 0.45, 0.4, 0.3),
            "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
        },
        published=(_vit_b(0.9038), _resnet18(0.863)),
    ),
    "pathmnist": DatasetSettings(
        conformal_level=0.95,
        rotatable=True,
        augmentation=HISTOLOGY,
        epochs={
            "cpu": {"cnn": 4, "vit": 6, "spt_lsa": 6, "vit_finetuned": 2},
            "gpu": {"cnn": 30, "vit": 40, "spt_lsa": 40, "vit_finetuned": 12},
        },
        train_images=15_000,
        seeds=3,
        corruptions={
            "pixelate": (0.8, 0.6, 0.4, 0.3, 0.25),
            "jpeg_compression": _JPEG,
            "defocus_blur": ((3, 0.1), (4, 0.1), (5, 0.2), (6, 0.2), (7, 0.3)),
            "motion_blur": ((5, 5), (10, 5), (15, 5), (15, 8), (15, 12)),
            "brightness_up": (1.1, 1.15, 1.2, 1.22, 1.25),
            "brightness_down": (0.85, 0.8, 0.75, 0.72, 0.7),
            "contrast_up": (1.1, 1.2, 1.3, 1.4, 1.6),
            "contrast_down": (0.8, 0.7, 0.6, 0.55, 0.5),
            "saturate": (0.05, 0.1, 0.15, 0.2, 0.25),
            "stain_deposit": (1, 2, 3, 4, 5),
            "bubble": ((7, 15), (10, 15), (12, 15), (15, 20), (17, 25)),
        },
        draw=drawings.tissue,
        published=(_vit_b(0.9462), _resnet18(0.907)),
    ),
    "pneumoniamnist": DatasetSettings(
        conformal_level=0.95,
        epochs={
            "cpu": {"cnn": 10, "vit": 10, "spt_lsa": 10, "vit_finetuned": 5},
            "gpu": {"cnn": 60, "vit": 120, "spt_lsa": 120, "vit_finetuned": 30},
        },
        corruptions={
            "pixelate": (0.8, 0.7, 0.6, 0.5, 0.4),
            "jpeg_compression": _JPEG,
            "gaussian_noise": (0.04, 0.05, 0.06, 0.07, 0.08),
            "speckle_noise": (0.05, 0.07, 0.1, 0.15, 0.2),
            "impulse_noise": (0.005, 0.01, 0.013, 0.017, 0.02),
            "shot_noise": (300, 200, 150, 100, 80),
            "gaussian_blur": (3, 5, 7, 9, 11),
            "brightness_up": (1.1, 1.2, 1.3, 1.4, 1.5),
            "brightness_down": _DOWN,
            "contrast_up": (1.1, 1.2, 1.3, 1.4, 1.6),
            "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
            "gamma_up": (1.1, 1.2, 1.3, 1.4, 1.6),
            "gamma_down": (0.9, 0.8, 0.7, 0.6, 0.4),
        },
        draw=drawings.chest,
        published=(
            PublishedResult("Google AutoML Vision", "not published", 28, "automatic search", 0.946, YANG),
        ),
    ),
    "retinamnist": DatasetSettings(
        rotatable=True,
        augmentation=COLOUR,
        epochs={
            "cpu": {"cnn": 30, "vit": 40, "spt_lsa": 40, "vit_finetuned": 15},
            "gpu": {"cnn": 120, "vit": 250, "spt_lsa": 250, "vit_finetuned": 60},
        },
        small=True,
        ordered=True,
        corruptions={
            "pixelate": (0.8, 0.6, 0.5, 0.4, 0.35),
            "jpeg_compression": (30, 25, 20, 10, 5),
            "gaussian_noise": (0.04, 0.08, 0.12, 0.16, 0.2),
            "speckle_noise": (0.1, 0.15, 0.2, 0.25, 0.3),
            "defocus_blur": ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5)),
            "motion_blur": ((8, 5), (15, 5), (15, 8), (15, 12), (20, 15)),
            "brightness_down": _DOWN,
            "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
        },
        draw=drawings.fundus,
        published=(_vit_b(0.570), _resnet18(0.524)),
    ),
    "chestmnist": DatasetSettings(draw=drawings.chest),
    "dermamnist": DatasetSettings(rotatable=True, augmentation=HISTOLOGY, draw=drawings.tissue),
}


def of(name: str) -> DatasetSettings:
    """The settings of a dataset; the defaults where the table has none."""
    return SETTINGS.get(name, DatasetSettings())
