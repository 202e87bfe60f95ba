"""The vanilla Vision Transformer, sized to learn from scratch on small images.

Dosovitskiy et al.: An Image is Worth 16x16 Words (ICLR 2021). Width, depth and heads are those that Lee, Lee
and Song (2021) use for small datasets, so that `spt_lsa` differs from this model in its two ideas alone.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from medvit.models.attention import attend, recording


class VitConfig(PretrainedConfig):
    """`patch_size`, `image_size` in pixels; `drop_path`: the stochastic-depth rate of the last block."""

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
        **kwargs,
    ):
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"
            )
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.mlp_ratio = mlp_ratio
        self.drop_path = drop_path
        super().__init__(**kwargs)


class PatchEmbedding(nn.Module):
    """Cut an image (B, 3, H, W) into patches and project each: (B, H/p * W/p, dim)."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.projection = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.projection(pixel_values).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention on (B, T, dim)."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, tokens: int | None = None) -> Tensor:
        """(B, T, dim) to (B, tokens, dim), the first of T; all where `tokens` is None."""
        q, k, v = (
            self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # 3 x (B, heads, T, dim)
        return self.out(self.attend(q[..., :tokens, :], k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q * q.shape[-1] ** -0.5, k, v)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drop a residual branch for whole samples while training."""

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

    def forward(self, x: Tensor, tokens: int | None = None) -> Tensor:
        """(B, T, dim) to (B, tokens, dim), the first of T; all where `tokens` is None."""
        x = x[:, :tokens] + self.drop_path(self.attention(self.norm1(x), tokens))
        return x + self.drop_path(self.mlp(self.norm2(x)))


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
        """Classify normalised images (B, 3, H, W).

        Returns:
            `logits` (B, classes); `attentions`, one (B, heads, T, T) a block, T = patches + 1, class token
            first; `hidden_states`, the embedding and each block's output (B, T, dim).
        """
        x = self.patch_embedding(pixel_values)  # (B, patches, dim)
        x = (
            torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.position_embedding
        )  # (B, T, dim)
        hidden_states = [x]
        # While training, the last block gives out only what the classifier reads.
        class_token_only = self.training and not (output_attentions or output_hidden_states)
        with recording() if output_attentions else nullcontext() as record:
            for block in self.blocks:
                last = block is self.blocks[-1]
                x = block(x, tokens=1 if last and class_token_only else None)
                hidden_states.append(x)
        logits = self.classifier(self.norm(x[:, 0]))  # (B, classes)
        return ImageClassifierOutput(
            loss=None if labels is None else self.loss_function(labels, logits, self.config),
            logits=logits,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=record.attentions().unbind() if record else None,
        )
