"""The architectures; importing this registers them with the Auto classes of transformers."""

from typing import Any

from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedModel

from medvit.errors import MedvitError
from medvit.images import Preprocessing
from medvit.models.cnn import CnnConfig, CnnForImageClassification
from medvit.models.finetune import DEFAULT_BACKBONE, from_backbone
from medvit.models.spt_lsa import SptLsaConfig, SptLsaForImageClassification
from medvit.models.vit import VitConfig, VitForImageClassification
from medvit.subsets import Subset

FROM_SCRATCH: dict[str, type[PreTrainedModel]] = {
    "cnn": CnnForImageClassification,
    "vit": VitForImageClassification,
    "spt_lsa": SptLsaForImageClassification,
}
NAMES = (*FROM_SCRATCH, "vit_finetuned")
TITLES = {
    "cnn": "CNN (ResNet-18)",
    "vit": "ViT from scratch",
    "spt_lsa": "SPT-LSA ViT",
    "vit_finetuned": "ViT, fine-tuned",
}

for _config, _model in (
    (CnnConfig, CnnForImageClassification),
    (VitConfig, VitForImageClassification),
    (SptLsaConfig, SptLsaForImageClassification),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModelForImageClassification.register(_config, _model)


def build(
    name: str,
    subset: Subset,
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
        MedvitError: unknown name, or an unusable backbone.
    """
    labels: dict[str, Any] = dict(
        id2label=dict(enumerate(subset.classes)),
        label2id={label: i for i, label in enumerate(subset.classes)},
        problem_type="multi_label_classification" if subset.multi_label else "single_label_classification",
    )
    if name == "vit_finetuned":
        return from_backbone(backbone, image_size, **labels, **config_kwargs)
    if name not in FROM_SCRATCH:
        raise MedvitError(f"There is no model {name!r}. The models are: {', '.join(NAMES)}.")
    model_class = FROM_SCRATCH[name]
    if image_size:
        config_kwargs["image_size"] = image_size
        if name != "cnn":  # a grid of 7 or 8 patches a side, as 4 pixels give it at 28
            config_kwargs.setdefault("patch_size", max(4, image_size // (8 if image_size % 7 else 7)))
    config = model_class.config_class(**labels, **config_kwargs)
    return model_class(config), Preprocessing(config.image_size)
