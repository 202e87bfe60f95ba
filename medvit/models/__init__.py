"""The architectures, one a file: build a new model by name, and make transformers know their classes."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from medvit.data import Dataset
from medvit.errors import MedvitError
from medvit.imaging.preprocess import Preprocessing
from medvit.slow_imports import slow_module, transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TITLES = {
    "cnn": "CNN (ResNet-18)",
    "vit": "ViT from scratch",
    "spt_lsa": "SPT-LSA ViT",
    "vit_finetuned": "ViT, fine-tuned",
}
NAMES = tuple(TITLES)
MIN_PATCH = 4  # pixels; smaller patches would be too many
DEFAULT_BACKBONE = "WinKawaks/vit-tiny-patch16-224"
configs = slow_module("medvit.models.configs")
pretrained = slow_module("medvit.models.pretrained")


@cache
def architectures() -> dict[str, type[PreTrainedModel]]:
    """The model classes that are trained from scratch, by name."""
    from medvit.models.resnet import CnnForImageClassification  # importing transformers takes seconds
    from medvit.models.spt_lsa import SptLsaForImageClassification
    from medvit.models.vit import VitForImageClassification

    return {
        "cnn": CnnForImageClassification,
        "vit": VitForImageClassification,
        "spt_lsa": SptLsaForImageClassification,
    }


def register_configs() -> None:
    """Make transformers' AutoConfig know the architectures; `import medvit` arranges that this is called."""
    for config_class in configs.CONFIGS:
        transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)


def register_models() -> None:
    """Make transformers' AutoModelForImageClassification know them; arranged in the same way."""
    for model_class in architectures().values():
        auto_class = transformers.AutoModelForImageClassification
        auto_class.register(model_class.config_class, model_class, exist_ok=True)


def build(
    name: str,
    dataset: Dataset,
    backbone: str = DEFAULT_BACKBONE,
    image_size: int | None = None,
    **config_kwargs,
) -> tuple[PreTrainedModel, Preprocessing]:
    """Build a new model for a dataset, and the preprocessing that goes with it.

    Args:
        name: one of `NAMES`.
        backbone: hub id or folder of the pretrained ViT, for "vit_finetuned".
        image_size: side of the input in pixels; by default 28, or the backbone's own.
        config_kwargs: more fields of the architecture's configuration, such as ``width=64`` or ``lsa=False``.

    Raises:
        MedvitError: unknown name, an unusable backbone, or sizes that do not go together.
    """
    config_kwargs |= dict(
        id2label=dict(enumerate(dataset.classes)),
        label2id={label: i for i, label in enumerate(dataset.classes)},
        problem_type="multi_label_classification" if dataset.multi_label else "single_label_classification",
    )
    if name not in NAMES:
        raise MedvitError(f"There is no model {name!r}. The models are: {', '.join(NAMES)}.")
    if name == "vit_finetuned":
        return pretrained.from_backbone(backbone, image_size, **config_kwargs)
    if image_size:
        check_image_size(name, image_size, config_kwargs.get("patch_size"))
        config_kwargs["image_size"] = image_size
        if name != "cnn":
            config_kwargs.setdefault("patch_size", _patch_size(image_size))
    model_class = architectures()[name]
    try:
        config = model_class.config_class(**config_kwargs)
    except ValueError as error:
        raise MedvitError(f"There is no such {name}: {error}.") from error
    return model_class(config), Preprocessing(config.image_size)


def check_image_size(name: str, image_size: int, patch_size: int | None = None) -> None:
    """Raise a MedvitError where a ViT from scratch cannot have this input; the text names sizes that it can.

    Args:
        name: one of `NAMES`.
        image_size, patch_size: in pixels; None: the patch size that `build` chooses.
    """
    if name not in ("vit", "spt_lsa") or image_size <= 0 or not isinstance(patch_size, int | None):
        return

    def remainder(size: int) -> int:
        return size % (patch_size or _patch_size(size))

    if remainder(image_size):
        smaller, larger = range(image_size, 0, -1), count(image_size)
        sizes = [next((size for size in sizes if not remainder(size)), 0) for sizes in (smaller, larger)]
        raise MedvitError(
            f"The image_size {image_size} of {name} is not a multiple of patch_size "
            f"{patch_size or _patch_size(image_size)}. The nearest sizes that are possible: "
            f"{' and '.join(str(size) for size in sizes if size)}. Choose one with --image-size or --size."
        )


def _patch_size(image_size: int) -> int:
    """In pixels: a seventh of the side where 7 divides it, else an eighth; at least MIN_PATCH."""
    return max(MIN_PATCH, image_size // (8 if image_size % 7 else 7))
