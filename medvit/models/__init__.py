"""The architectures; `register` makes the Auto classes of transformers know them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from medvit.data import Dataset
from medvit.errors import MedvitError
from medvit.imaging.preprocess import Preprocessing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TITLES = {
    "cnn": "CNN (ResNet-18)",
    "vit": "ViT from scratch",
    "spt_lsa": "SPT-LSA ViT",
    "vit_finetuned": "ViT, fine-tuned",
}
NAMES = tuple(TITLES)
DEFAULT_BACKBONE = "WinKawaks/vit-tiny-patch16-224"


@cache
def register() -> dict[str, type[PreTrainedModel]]:
    """Make transformers know the architectures of this package; return those that are trained from scratch.

    `import medvit` arranges that this runs when transformers' Auto classes are imported. It holds no lock of
    its own: it runs inside an import, which other threads already wait for.
    """
    from transformers import AutoConfig, AutoModelForImageClassification  # takes seconds

    from medvit.models.resnet import CnnConfig, CnnForImageClassification
    from medvit.models.spt_lsa import SptLsaConfig, SptLsaForImageClassification
    from medvit.models.vit import VitConfig, VitForImageClassification

    architectures: dict[str, tuple[Any, Any]] = {
        "cnn": (CnnConfig, CnnForImageClassification),
        "vit": (VitConfig, VitForImageClassification),
        "spt_lsa": (SptLsaConfig, SptLsaForImageClassification),
    }
    for config, model in architectures.values():  # exist_ok: importing the Auto classes above registers too
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForImageClassification.register(config, model, exist_ok=True)
    return {name: model for name, (_, model) in architectures.items()}


def build(
    name: str,
    subset: Dataset,
    backbone: str = DEFAULT_BACKBONE,
    image_size: int | None = None,
    **config_kwargs,
) -> tuple[PreTrainedModel, Preprocessing]:
    """A new model for a subset, and the preprocessing that goes with it.

    Args:
        name: one of `NAMES`.
        image_size: input side in pixels, where it is not the architecture's default (28, or the backbone's
            own).
        config_kwargs: more fields of the architecture's configuration, such as ``width=64`` or ``lsa=False``.

    Raises:
        MedvitError: unknown name, an unusable backbone, or sizes that do not go together.
    """
    labels: dict[str, Any] = dict(
        id2label=dict(enumerate(subset.classes)),
        label2id={label: i for i, label in enumerate(subset.classes)},
        problem_type="multi_label_classification" if subset.multi_label else "single_label_classification",
    )
    from_scratch = register()
    if name == "vit_finetuned":
        from medvit.models.pretrained import from_backbone

        return from_backbone(backbone, image_size, **labels, **config_kwargs)
    if name not in from_scratch:
        raise MedvitError(f"There is no model {name!r}. The models are: {', '.join(NAMES)}.")
    model_class = from_scratch[name]
    if image_size:
        config_kwargs["image_size"] = image_size
        if name != "cnn":  # a grid of 7 or 8 patches a side, as 4 pixels give it at 28
            config_kwargs.setdefault("patch_size", max(4, image_size // (8 if image_size % 7 else 7)))
    try:
        config = model_class.config_class(**labels, **config_kwargs)
    except ValueError as error:
        raise MedvitError(f"There is no such {name}: {error}.") from error
    return model_class(config), Preprocessing(config.image_size)
