"""ViT with Shifted Patch Tokenization and Locality Self-Attention.

Lee, Lee, Song: Vision Transformer for Small-Size Datasets (2021, arXiv 2112.13492).
Either part can be switched off alone; with both off the model is the vanilla `vit`, apart from its
initialisation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.models.attention import attend
from medvit.models.vit import Attention, PatchEmbedding, VitConfig, VitForImageClassification


class SptLsaConfig(VitConfig):
    """`spt`, `lsa`: use shifted patch tokenization, locality self-attention."""

    model_type = "medvit_spt_lsa"

    def __init__(self, spt: bool = True, lsa: bool = True, **kwargs):
        self.spt = spt
        self.lsa = lsa
        super().__init__(**kwargs)


def diagonal_shifts(x: Tensor, distance: int) -> Tensor:
    """The image and its four diagonal shifts by `distance` pixels, zero padded.

    (B, C, H, W) to (B, 5 C, H, W), in the order: the image, moved up-left, up-right, down-left, down-right.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, [distance] * 4)
    up_down, left_right = (2 * distance, 0), (2 * distance, 0)
    moved = [padded[..., top : top + height, left : left + width] for top in up_down for left in left_right]
    return torch.cat([x, *moved], 1)


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
    """Attention with a learned temperature per head and no attention of a token to itself."""

    def __init__(self, config: SptLsaConfig):
        super().__init__(config)
        head_dim = config.hidden_size // config.num_attention_heads
        self.temperature = nn.Parameter(torch.full((config.num_attention_heads, 1, 1), head_dim**-0.5))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape[-2], k.shape[-2]  # fewer queries where only the first tokens are asked for
        mask = torch.zeros(shape, dtype=q.dtype, device=q.device).fill_diagonal_(float("-inf"))
        return attend((q * self.temperature).to(k.dtype), k, v, mask)


class SptLsaForImageClassification(VitForImageClassification):
    config_class = SptLsaConfig

    def make_patch_embedding(self) -> nn.Module:
        return ShiftedPatchTokenization(self.config) if self.config.spt else PatchEmbedding(self.config)

    def make_attention(self) -> nn.Module:
        return LocalitySelfAttention(self.config) if self.config.lsa else Attention(self.config)
