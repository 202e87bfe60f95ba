"""Figures that others have published for these subsets, each with its protocol and its source."""

from dataclasses import dataclass

from medvit.data.medmnist import MAIN

HALDER = "Halder et al., Scientific Reports 14, 12567 (2024)"
YANG = "Yang et al., MedMNIST v2, Scientific Data 10, 41 (2023)"


@dataclass(frozen=True)
class Published:
    """One published test figure. `accuracy` in 0..1; `pixels`: the source images', before enlarging."""

    subset: str
    model: str
    parameters: str
    pixels: int
    protocol: str
    accuracy: float
    source: str


def _rows(
    model: str, parameters: str, pixels: int, protocol: str, source: str, **accuracies: float
) -> list[Published]:
    return [
        Published(f"{name}mnist", model, parameters, pixels, protocol, value / 100, source)
        for name, value in accuracies.items()
    ]


ALL = (
    *_rows(
        "ViT-B/16, fine-tuned", "86 M", 28, "enlarged to 224; one run, best validation loss", HALDER,
        blood=97.90, breast=90.38, path=94.62, retina=57.0,
    ),
    *_rows(
        "ResNet-18", "11 M", 28, "from scratch; best validation AUC", YANG,
        blood=95.8, breast=86.3, path=90.7, retina=52.4,
    ),
    *_rows("Google AutoML Vision", "not published", 28, "automatic search", YANG, pneumonia=94.6),
)  # fmt: skip


def of(subset: str) -> list[Published]:
    """The published figures for a subset; none are kept for subsets outside `subsets.MAIN`."""
    return [one for one in ALL if one.subset == subset] if subset in MAIN else []
