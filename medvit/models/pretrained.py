"""A pretrained Hugging Face ViT, given a new head and, if wanted, another input size."""

import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel, ViTForImageClassification
from transformers.models.vit.modeling_vit import ViTLayer

from medvit.errors import MedvitError
from medvit.imaging.preprocess import Preprocessing
from medvit.models import DEFAULT_BACKBONE, rlrr
from medvit.models.attention import attend

STRATEGIES = "full, last-K, linear, lora, rlrr"
LEAST_PATCH = 4  # pixels; smaller patches would be many


def from_backbone(
    backbone: str = DEFAULT_BACKBONE, image_size: int | None = None, **config_kwargs
) -> tuple[ViTForImageClassification, Preprocessing]:
    """Load a ViT by hub id or folder, with a new head.

    Args:
        backbone: hub id or folder of a ``model_type: vit`` checkpoint (ViT, DeiT without distillation, DINO).
        image_size: input side in pixels, where it is not the backbone's own; see `resize`.
        config_kwargs: id2label, label2id, problem_type.

    Raises:
        MedvitError: there is no such backbone, or it is not a ViT.
    """
    try:
        config = AutoConfig.from_pretrained(backbone)
        if config.model_type != "vit":
            raise MedvitError(
                f"The backbone {backbone!r} is a {config.model_type}; only ViT backbones can be used."
            )
        model = ViTForImageClassification.from_pretrained(
            backbone, dtype=torch.float32, ignore_mismatched_sizes=True, use_safetensors=True, **config_kwargs
        )
        mean, std = _mean_and_std(backbone)
    except (OSError, ValueError, SafetensorError) as error:
        raise MedvitError(
            f"The backbone {backbone!r} could not be loaded: {str(error).splitlines()[0]} "
            "Give --backbone a hub id (with a network) or a folder with config.json, model.safetensors and "
            "preprocessor_config.json."
        ) from error
    if image_size:
        resize(model, image_size)
    return model, Preprocessing(model.config.image_size, mean, std)


def resize(model: ViTForImageClassification, image_size: int) -> None:
    """Change the input size of a ViT in place, so that the saved model needs no special call.

    A multiple of the patch size gives another number of patches. Any other size gives smaller patches, of
    the greatest common divisor: a model of patches of 16 pixels takes images of 28 as 7 x 7 patches of 4,
    as many as it would make of them enlarged to 112.

    Raises:
        MedvitError: the patches would be smaller than 4 pixels.
    """
    patch = model.config.patch_size
    if (shared := math.gcd(patch, image_size)) < min(patch, LEAST_PATCH):
        raise MedvitError(
            f"The input size {image_size} does not go with the backbone's patch size {patch}: patches "
            f"of {shared} pixels are too small (the least is {LEAST_PATCH}). Choose a multiple of {patch}."
        )
    if shared < patch:
        _shrink_patches(model, shared)
    _resize_position_embedding(model, image_size)


def _shrink_patches(model: ViTForImageClassification, patch: int) -> None:
    """Give a patch of fewer pixels the embedding that it would have enlarged bicubically to the old size.

    Both steps are linear, so the one is folded into the other.
    """
    embeddings = model.vit.embeddings
    projection, old = embeddings.patch_embeddings.projection, model.config.patch_size
    pixels = torch.eye(patch * patch).view(-1, 1, patch, patch)
    enlarged = F.interpolate(pixels, (old, old), mode="bicubic")[:, 0]  # (pixel, old, old)
    folded = torch.einsum("dcyx,pyx->dcp", projection.weight.data, enlarged)
    projection.weight = nn.Parameter(folded.unflatten(2, (patch, patch)).contiguous())
    projection.kernel_size = projection.stride = (patch, patch)
    embeddings.patch_embeddings.patch_size = (patch, patch)
    model.config.patch_size = embeddings.patch_size = patch
    model.config.image_size = model.config.image_size // old * patch


def _resize_position_embedding(model: ViTForImageClassification, image_size: int) -> None:
    """Interpolate the position embedding bicubically to the grid of patches of another input size."""
    embeddings, patch = model.vit.embeddings, model.config.patch_size
    old, new = model.config.image_size // patch, image_size // patch
    position = embeddings.position_embeddings.data  # (1, 1 + old^2, dim)
    grid = position[:, 1:].transpose(1, 2).unflatten(-1, (old, old))  # (1, dim, old, old)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=new < old)
    embeddings.position_embeddings = nn.Parameter(
        torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], 1).contiguous()
    )
    model.config.image_size = image_size
    embeddings.image_size = (image_size, image_size)
    embeddings.patch_embeddings.image_size = (image_size, image_size)
    embeddings.patch_embeddings.num_patches = new * new


def _mean_and_std(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if Path(backbone).is_dir():
        path = Path(backbone) / "preprocessor_config.json"
    else:
        from transformers.utils import cached_file

        path = Path(cached_file(backbone, "preprocessor_config.json"))
    preprocessing = Preprocessing.from_json(path.read_text())
    return preprocessing.mean, preprocessing.std


def apply_strategy(model: PreTrainedModel, strategy: str) -> nn.Module:
    """Choose what of a ViT is trained; its head always is.

    Args:
        strategy: "full"; "last-K", the last K blocks and the final norm; "linear", the head alone; "lora",
            low-rank updates of queries and values (Hu et al., 2021, through peft); "rlrr" (see `rlrr`).

    Returns:
        The module to train, whose logits are still those of `model`; `merge_strategy` takes it back.

    Raises:
        MedvitError: no such strategy, or K larger than the number of blocks.
    """
    last = re.fullmatch(r"last-(\d+)", strategy)
    if strategy == "rlrr":
        rlrr.apply(model)
    elif strategy == "lora":
        import peft

        config = peft.LoraConfig(
            r=16, lora_alpha=16, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"]
        )
        return peft.get_peft_model(model, config)
    elif strategy == "linear" or last:
        blocks = model.vit.layers
        count = int(last[1]) if last else 0
        if count > len(blocks):
            raise MedvitError(
                f"The strategy {strategy!r} asks for more than the {len(blocks)} blocks there are."
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
    """The plain ViT with what was learned merged into its weights; its logits are those of `model`."""
    if strategy == "lora":
        return model.merge_and_unload()
    if strategy == "rlrr":
        rlrr.merge(model)
    return model  # type: ignore[return-value]


class ClassTokenLayer(nn.Module):
    """The last `ViTLayer` of a classifier, giving out the class token alone: no other is read after it.

    Its parameters are the layer's own, under the same names.
    """

    def __init__(self, layer: ViTLayer):
        super().__init__()
        self.attention, self.mlp, self.dropout = layer.attention, layer.mlp, layer.dropout
        self.layernorm_before, self.layernorm_after = layer.layernorm_before, layer.layernorm_after

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """(B, T, dim) to (B, 1, dim); without a mask, as images have no padding."""
        one, normed = self.attention, self.layernorm_before(x)
        parts = (one.q_proj, normed[:, :1]), (one.k_proj, normed), (one.v_proj, normed)
        q, k, v = (project(y).unflatten(-1, (-1, one.head_dim)).transpose(1, 2) for project, y in parts)
        read = attend(q * one.scaling, k, v).transpose(1, 2).flatten(2)
        x = x[:, :1] + self.dropout(one.o_proj(read))
        return x + self.dropout(self.mlp(self.layernorm_after(x)))


def optimize_for_training(model: nn.Module, device: torch.device) -> None:
    """Make a Hugging Face ViT train faster, in place, with the same logits; other models stay as they are.

    The last layer gives out the class token alone, which takes 7 % less time for ViT-Tiny, unless attention
    is dropped out. On a CPU attention is not fused: the backward pass of that kernel is slow in bfloat16.
    """
    if isinstance(model, ViTForImageClassification):
        if device.type == "cpu":
            model.set_attn_implementation("eager")
        *_, last = model.vit.layers
        if type(last) is ViTLayer and not model.config.attention_probs_dropout_prob:
            model.vit.layers[-1] = ClassTokenLayer(last)
