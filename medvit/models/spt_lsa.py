"""ViT with Shifted Patch Tokenization and Locality Self-Attention.

Lee, Lee, Song: Vision Transformer for Small-Size Datasets (2021, arXiv 2112.13492).
Either part can be switched off; with both off the model is the vanilla `vit`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.models.configs import SptLsaConfig
from medvit.models.vit import (
    Attention,
    PatchEmbedding,
    VitForImageClassification,
    scaled_dot_product_attention,
)


def diagonal_shifts(x: Tensor, distance: int) -> Tensor:
    """The image and its four diagonal shifts by `distance` pixels, zero padded.

    (B, C, H, W) to (B, 5 C, H, W), in the order: the image, shifted up-left, up-right, down-left, down-right.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, [distance] * 4)
    up_down, left_right = (2 * distance, 0), (2 * distance, 0)
    shifted = [padded[..., top : top + height, left : left + width] for top in up_down for left in left_right]
    return torch.cat([x, *shifted], 1)


class ShiftedPatchTokenization(nn.Module):
    """Concatenate the four half-patch diagonal shifts to the image, cut patches, LayerNorm, project."""

    def __init__(self, config: SptLsaConfig):
        super().__init__()
        self.patch_size = config.patch_size
        patch_dim = 5 * 3 * config.patch_size**2
        self.norm = nn.LayerNorm(patch_dim)
        self.projection = nn.Linear(patch_dim, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = diagonal_shifts(pixel_values, self.patch_size // 2)  # (B, 15, H, W)
        patches = F.pixel_unshuffle(x, self.patch_size)  # (B, 15 p p, H/p, W/p)
        return self.projection(self.norm(patches.flatten(2).transpose(1, 2)))  # (B, patches, dim)


class LocalitySelfAttention(Attention):
    """Attention with a learned temperature per head, in which no token attends to itself."""

    def __init__(self, config: SptLsaConfig):
        super().__init__(config)
        head_dim = config.hidden_size // config.num_attention_heads
        self.temperature = nn.Parameter(torch.full((config.num_attention_heads, 1, 1), head_dim**-0.5))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, fused: bool) -> tuple[Tensor, Tensor | None]:
        mask = torch.zeros(q.shape[-2], k.shape[-2], dtype=q.dtype, device=q.device)  # (tokens, T)
        mask.fill_diagonal_(float("-inf"))
        q = (q * self.temperature).to(k.dtype)  # under autocast the product is float32
        return scaled_dot_product_attention(q, k, v, 1.0, mask, fused)


class SptLsaForImageClassification(VitForImageClassification):
    config_class = SptLsaConfig

    def make_patch_embedding(self) -> nn.Module:
        return ShiftedPatchTokenization(self.config) if self.config.spt else PatchEmbedding(self.config)

    def make_attention(self) -> nn.Module:
        return LocalitySelfAttention(self.config) if self.config.lsa else Attention(self.config)
