"""A pretrained Hugging Face ViT with a new head and, optionally, another input size."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, ViTForImageClassification
from transformers.utils import cached_file

from medvit.errors import MedvitError, first_line
from medvit.imaging.preprocess import Preprocessing
from medvit.models import DEFAULT_BACKBONE, MIN_PATCH, folder_check


def from_backbone(
    backbone: str = DEFAULT_BACKBONE, image_size: int | None = None, **config_kwargs
) -> tuple[ViTForImageClassification, Preprocessing]:
    """Load a ViT by hub id or folder, with a new head.

    Args:
        backbone: hub id or folder of a ``model_type: vit`` checkpoint (ViT, DeiT without distillation, DINO).
        image_size: side of the input in pixels, by default the backbone's own; see `resize`.
        config_kwargs: id2label, label2id, problem_type.

    Raises:
        MedvitError: there is no such backbone, or it is not a ViT.
    """
    try:
        if Path(backbone).is_dir():
            folder_check.check_sizes(Path(backbone))
        config = AutoConfig.from_pretrained(backbone)
        if config.model_type != "vit":
            raise MedvitError(
                f"The backbone {backbone!r} is a {config.model_type}; only ViT backbones can be used."
            )
        if type(config.image_size) is not int or type(config.patch_size) is not int:
            raise ValueError("its images or patches are not square")
        loaded: Any = ViTForImageClassification.from_pretrained(
            backbone,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
            **config_kwargs,
        )
        model, report = loaded
        _check_report(report)
        folder_check.check_finite(model)
        mean, std = _mean_and_std(backbone)
    except Exception as error:  # whatever a damaged folder makes the library raise
        raise MedvitError(
            f"The backbone {backbone!r} could not be loaded: {first_line(error)}. "
            "Give --backbone a hub id (with a network) or a folder with config.json, model.safetensors and "
            "preprocessor_config.json."
        ) from error
    if image_size:
        resize(model, image_size)
    return model, Preprocessing(model.config.image_size, mean, std)


def _check_report(report: Mapping[str, Any]) -> None:
    """Raise ValueError where weights other than the classifier's did not come from the file."""
    names = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if lost := sorted(name for name in names if not name.startswith("classifier.")):
        raise ValueError(f"its weights lack {lost[0]}, or have another shape than its config.json says")


def resize(model: ViTForImageClassification, image_size: int) -> None:
    """Change the input size of a ViT in place, so that the saved model needs no special call.

    A multiple of the patch size gives another number of patches. Any other size gives smaller patches, of the
    greatest common divisor: a model with patches of 16 pixels takes images of 28 as 7 x 7 patches of 4, as
    many as of the same images enlarged to 112.

    Raises:
        MedvitError: the patches would be smaller than 4 pixels.
    """
    patch = model.config.patch_size
    new_patch = math.gcd(patch, image_size)
    if new_patch < min(patch, MIN_PATCH):
        raise MedvitError(
            f"The input size {image_size} does not go with the backbone's patch size {patch}: patches "
            f"of {new_patch} pixels are too small (the minimum is {MIN_PATCH}). Choose a multiple of {patch}."
        )
    if new_patch < patch:
        _shrink_patches(model, new_patch)
    _resize_position_embedding(model, image_size)


def _shrink_patches(model: ViTForImageClassification, patch: int) -> None:
    """Embed smaller patches as if they were first enlarged bicubically to the old size.

    Both steps are linear, so the enlargement is folded into the weights of the projection.
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
        path = Path(cached_file(backbone, "preprocessor_config.json"))
    preprocessing = Preprocessing.read(path)
    return preprocessing.mean, preprocessing.std
