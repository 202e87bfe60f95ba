"""The vanilla Vision Transformer, sized to learn from scratch on small images.

Dosovitskiy et al.: An Image is Worth 16x16 Words (ICLR 2021). Width, depth and heads are those that Lee, Lee
and Song (2021) use for small datasets, so `spt_lsa` differs from this model only in its two ideas.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from medvit.models.configs import VitConfig


class PatchEmbedding(nn.Module):
    """Cut an image into patches and project each of them."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.projection = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.projection(pixel_values).flatten(2).transpose(1, 2)  # (B, patches, dim)


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None, fused: bool = True
) -> tuple[Tensor, Tensor | None]:
    """softmax(q k^T * scale + mask) v, by PyTorch's fused kernel or step by step.

    Args:
        q, k, v: (B, heads, T, head_dim); q may have fewer tokens.
        mask: (T, T), added to the scores.

    Returns:
        output (B, heads, T, head_dim); the weights (B, heads, T, T), or None where the kernel was fused.
    """
    if fused:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), None
    scores = (q * scale) @ k.transpose(-2, -1)  # (B, heads, T, T)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ v, weights


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, x: Tensor, tokens: int | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from the first `tokens` tokens (None: from all) to all tokens of x (B, T, dim).

        Returns:
            (B, tokens, dim); the attention weights (B, heads, tokens, T), which may be None unless needed.
        """
        # Training on a CPU: the backward pass of the fused kernel is slow, 55 against 143 images/s in bf16.
        fused = not need_weights and not (self.training and x.device.type == "cpu")
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, T, head_dim)
        y, weights = self.attend(q[..., :tokens, :], k, v, fused)  # (B, heads, tokens, head_dim)
        return self.out(y.transpose(1, 2).flatten(2)), weights

    def attend(self, q: Tensor, k: Tensor, v: Tensor, fused: bool) -> tuple[Tensor, Tensor | None]:
        return scaled_dot_product_attention(q, k, v, q.shape[-1] ** -0.5, fused=fused)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drop a residual branch for whole samples in training."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VitConfig, attention: nn.Module, drop_path: float):
        super().__init__()
        hidden = int(config.hidden_size * config.mlp_ratio)
        self.norm1 = nn.LayerNorm(config.hidden_size)
        self.attention = attention
        self.norm2 = nn.LayerNorm(config.hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, hidden), nn.GELU(), nn.Linear(hidden, config.hidden_size)
        )
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Tensor, tokens: int | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, dim) to (B, tokens, dim) and the attention weights; arguments as in `Attention`."""
        y, weights = self.attention(self.norm1(x), tokens, need_weights)
        x = x[:, :tokens] + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm2(x))), weights


def drop_patches(x: Tensor, fraction: float) -> Tensor:
    """Keep the class token and a random subset of the patch tokens, another one for each image.

    PatchDropout: Liu et al. (WACV 2023). Applied in training after the position embedding is added, it
    regularises and saves computation.

    Args:
        x: tokens (B, 1 + patches, dim), the class token first.
        fraction: of the patches to drop; at least one patch is kept.

    Returns:
        (B, 1 + round((1 - fraction) * patches), dim)
    """
    batch, tokens, dim = x.shape
    keep = max(1, round((tokens - 1) * (1 - fraction)))
    order = torch.rand(batch, tokens - 1, device=x.device).argsort(1)[:, :keep] + 1  # (B, keep)
    return torch.cat([x[:, :1], x.gather(1, order[..., None].expand(-1, -1, dim))], 1)


class VitForImageClassification(PreTrainedModel):
    config_class = VitConfig
    main_input_name = "pixel_values"

    def __init__(self, config: VitConfig):
        super().__init__(config)
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        self.patch_embedding = self.make_patch_embedding()
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.zeros(1, tokens, config.hidden_size))
        rates = torch.linspace(0, config.drop_path, config.num_hidden_layers, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(config, self.make_attention(), rate) for rate in rates)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def make_patch_embedding(self) -> nn.Module:
        return PatchEmbedding(self.config)

    def make_attention(self) -> nn.Module:
        return Attention(self.config)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, VitForImageClassification):
            nn.init.trunc_normal_(module.class_token, std=0.02)
            nn.init.trunc_normal_(module.position_embedding, std=0.02)

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **_,
    ) -> ImageClassifierOutput:
        """Classify normalised images (B, 3, H, W); they are cast to the dtype of the weights.

        Returns:
            `logits` (B, classes); `attentions`, one (B, heads, T, T) a block, T = patches + 1, class token
            first; `hidden_states`, the embedding and each block's output (B, T, dim).
        """
        x = self.patch_embedding(pixel_values.to(self.dtype))  # (B, patches, dim)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)  # (B, T, dim)
        x = x + self.position_embedding
        if self.training and self.config.patch_dropout > 0:
            x = drop_patches(x, self.config.patch_dropout)  # (B, fewer, dim)
        hidden_states, attentions = [x], []
        # In training, the last block computes only the token that the classifier reads.
        class_token_only = self.training and not (output_attentions or output_hidden_states)
        for block in self.blocks:
            last = block is self.blocks[-1]
            x, weights = block(x, 1 if last and class_token_only else None, output_attentions)
            hidden_states.append(x)
            attentions.append(weights)
        logits = self.classifier(self.norm(x[:, 0]))  # (B, classes)
        return ImageClassifierOutput(
            loss=None if labels is None else self.loss_function(labels, logits, self.config),
            logits=logits,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
