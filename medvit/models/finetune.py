"""Fine-tuning strategies: which parameters of a pretrained ViT are trained."""

import re

from torch import nn
from transformers import PreTrainedModel

from medvit.errors import MedvitError
from medvit.models import rlrr
from medvit.slow_imports import peft

STRATEGIES = "full, last-K, linear, lora, rlrr"


def apply_strategy(model: PreTrainedModel, strategy: str) -> nn.Module:
    """Select which parameters of a ViT are trained; its head always is.

    Args:
        strategy: "full"; "last-K", the last K blocks and the final norm; "linear", only the head; "lora",
            low-rank updates of queries and values (Hu et al., 2021, through peft); "rlrr" (see `rlrr`).

    Returns:
        The module to train, with the same logits as `model`; pass it to `merge_strategy` afterwards.

    Raises:
        MedvitError: no such strategy, or K larger than the number of blocks.
    """
    last = re.fullmatch(r"last-(\d+)", strategy)
    if strategy == "rlrr":
        rlrr.apply(model)
    elif strategy == "lora":
        config = peft.LoraConfig(
            r=16, lora_alpha=16, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"]
        )
        return peft.get_peft_model(model, config)
    elif strategy == "linear" or last:
        blocks = model.vit.layers
        count = int(last[1]) if last else 0
        if count > len(blocks):
            raise MedvitError(
                f"The strategy {strategy!r} needs {count} blocks; the model has {len(blocks)} blocks."
            )
        model.requires_grad_(False)
        trained = [
            model.classifier,
            *([model.vit.layernorm, *blocks[len(blocks) - count :]] if count else []),
        ]
        for module in trained:
            module.requires_grad_(True)
    elif strategy != "full":
        raise MedvitError(f"There is no strategy {strategy!r}. The strategies are: {STRATEGIES}.")
    return model  # type: ignore[return-value]


def merge_strategy(model: nn.Module, strategy: str) -> PreTrainedModel:
    """The plain ViT with the trained parameters merged into its weights; the logits are those of `model`."""
    if strategy == "lora":
        return model.merge_and_unload()
    if strategy == "rlrr":
        rlrr.merge(model)
    return model  # type: ignore[return-value]
