"""Configurations of the architectures, apart from the models so that AutoConfig loads nothing else."""

import json
from collections.abc import Callable
from typing import Any

from transformers.configuration_utils import PretrainedConfig

from medvit.errors import MedvitError


class CnnConfig(PretrainedConfig):
    """`width`: channels of the first stage; each later stage doubles them. `depths`: blocks per stage."""

    model_type = "medvit_cnn"

    def __init__(
        self, width: int = 32, depths: tuple[int, ...] = (2, 2, 2, 2), image_size: int = 28, **kwargs
    ):
        self.width = width
        self.depths = tuple(depths)
        self.image_size = image_size
        super().__init__(**kwargs)


class VitConfig(PretrainedConfig):
    """Configuration of the ViT.

    Args:
        image_size, patch_size: in pixels.
        mlp_ratio: hidden width of the MLP / hidden_size.
        drop_path: stochastic-depth rate of the last block; it grows linearly from 0 at the first.
        patch_dropout: fraction of the patches that is dropped in training, see `drop_patches`.

    Raises:
        ValueError: sizes that do not divide each other, or a fraction outside 0 to below 1.
    """

    model_type = "medvit_vit"

    def __init__(
        self,
        image_size: int = 28,
        patch_size: int = 4,
        hidden_size: int = 192,
        num_hidden_layers: int = 9,
        num_attention_heads: int = 12,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        patch_dropout: float = 0.0,
        **kwargs,
    ):
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"
            )
        if not 0 <= patch_dropout < 1:
            raise ValueError(f"patch_dropout {patch_dropout} is not in the range 0 to below 1")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.mlp_ratio = mlp_ratio
        self.drop_path = drop_path
        self.patch_dropout = patch_dropout
        super().__init__(**kwargs)


class SptLsaConfig(VitConfig):
    """As `VitConfig`, with `spt` (shifted patch tokenization) and `lsa` (locality self-attention)."""

    model_type = "medvit_spt_lsa"

    def __init__(self, spt: bool = True, lsa: bool = True, **kwargs):
        self.spt = spt
        self.lsa = lsa
        super().__init__(**kwargs)


CONFIGS = (CnnConfig, VitConfig, SptLsaConfig)
Rule = tuple[Callable[[Any], bool], str]  # whether a value is allowed, and which values are
COUNT: Rule = (lambda value: type(value) is int and 1 <= value <= 4096, "a whole number from 1 to 4096")
COUNTS: Rule = (
    lambda value: isinstance(value, list | tuple) and 1 <= len(value) <= 8 and all(map(COUNT[0], value)),
    "a list of 1 to 8 whole numbers above zero",
)
FLAG: Rule = (lambda value: type(value) is bool, "true or false")
FRACTION: Rule = (lambda value: type(value) in (int, float) and 0 <= value < 1, "a number from 0 to below 1")
RATIO: Rule = (lambda value: type(value) in (int, float) and 0.5 <= value <= 16, "a number from 0.5 to 16")
TRANSFORMER = {
    "patch_size": COUNT,
    "hidden_size": COUNT,
    "num_hidden_layers": COUNT,
    "num_attention_heads": COUNT,
    "mlp_ratio": RATIO,
    "drop_path": FRACTION,
}
FIELDS: dict[str, dict[str, Rule]] = {  # what a recipe may set
    "cnn": {"width": COUNT, "depths": COUNTS},
    "vit": TRANSFORMER,
    "spt_lsa": TRANSFORMER | {"spt": FLAG, "lsa": FLAG},
    "vit_finetuned": {"hidden_dropout_prob": FRACTION, "attention_probs_dropout_prob": FRACTION},
}


def check_fields(model: str, fields: dict[str, Any]) -> None:
    """Raise a MedvitError for a field that a recipe cannot set in an architecture, or for its value."""
    known = FIELDS[model]
    if unknown := [name for name in fields if name not in known]:
        raise MedvitError(f"Neither a recipe nor the architecture of {model} has {', '.join(unknown)}.")
    for name, value in fields.items():
        allowed, text = known[name]
        if not allowed(value):
            raise MedvitError(f"{name} of {model} must be {text}, not {json.dumps(value)}.")
