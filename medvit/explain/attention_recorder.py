"""Reads the attention of any PyTorch model during an ordinary forward pass.

    with torch.no_grad(), AttentionRecorder() as recorder:
        model(inputs)
    recorder.attentions()  # (layers, B, heads, T, T)

Inside the block, calls of ``F.scaled_dot_product_attention``, of ``nn.MultiheadAttention`` and of a softmax
over (B, heads, T, T) are computed here, with the same result, so that the weights can be kept. Attention of
another shape, such as to fewer keys than there are queries, makes the record incomplete. The model is not
changed, and other threads that use it are not affected: the mode belongs to this thread alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from medvit.errors import MedvitError

MAX_VALUES = 2**30  # of the attention of all layers for one image: 4 GiB
TOO_LARGE = f"takes more than {4 * MAX_VALUES >> 30} GiB for one image"
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class AttentionRecorder(TorchFunctionMode):
    """Records the attention weights of the models that are called inside the block.

    Args:
        gradients_from: index of the first attention whose weights are part of the graph, so that a logit can
            be differentiated with respect to them; the block has to be under ``torch.no_grad()``, and what is
            computed before that attention costs no more than without gradients. None for no gradients.
        layers: number of attention layers of the model, where it is known: saves a copy of the weights.
    """

    def __init__(self, gradients_from: int | None = None, layers: int | None = None):
        super().__init__()
        self.gradients_from, self.layers = gradients_from, layers
        self.norm_weight: Tensor | None = None  # of the last LayerNorm over tokens before the last attention
        self.norm_shape: torch.Size | None = None  # of what this LayerNorm was over: (B, T) or (T, B)
        self.too_large = False  # more attention than MAX_VALUES; what is beyond them is not recorded
        self.incomplete = False  # attention between tokens was computed that is not recorded
        self._values = 0  # recorded for one image
        self._last_norm_weight: Tensor | None = None
        self._last_norm_shape: torch.Size | None = None
        self._weights: list[Tensor] = []
        self._softmaxes: list[Tensor] = []
        self._buffer: Tensor | None = None

    @property
    def weights(self) -> list[Tensor]:
        """The weights of each layer, (B, heads, T, T), in the graph where gradients are recorded."""
        return self._weights or self._softmaxes

    @property
    def mixed(self) -> bool:
        """Whether some layers call a function for attention, others a softmax: their order is not known."""
        return bool(self._weights and self._softmaxes)

    def attentions(self, layers: int | None = None) -> Tensor:
        """The weights of the first `layers` layers, (layers, B, heads, T, T), detached; by default of all.

        Raises:
            MedvitError: they are too large.
        """
        if self.too_large:
            raise MedvitError(f"The attention of all layers {TOO_LARGE} at this size of the image.")
        weights = self.weights[:layers]
        if self._buffer is not None and len(weights) == len(self._buffer):
            return self._buffer
        return torch.stack([layer.detach() for layer in weights])

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._scaled_dot_product_attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head_attention(*args, **kwargs)
        shape = _shape_of_softmax(*args, **kwargs) if func in SOFTMAX else None
        if shape is not None and len(shape) == 4 and shape[2] == shape[3]:
            if self._fits(shape[1] * shape[2], shape[3]):
                weights = self._in_graph(func(*args, **kwargs), len(self._softmaxes))
                self._softmaxes.append(weights)
                self._attention_was_called()
                return weights.clone()  # which the model may change in place
        elif shape is not None:
            self.incomplete = True
        output = func(*args, **kwargs)
        if func is F.layer_norm and output.ndim == 3:
            self._last_norm_weight = args[2] if len(args) > 2 else kwargs.get("weight")
            self._last_norm_shape = output.shape[:2]
        return output

    def _scaled_dot_product_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        plain = query.ndim == 4 and not is_causal and not enable_gqa  # as in an image model
        self.incomplete = self.incomplete or (not plain and query.shape[-2] > 1)
        if not plain or not self._fits(query.shape[1] * query.shape[2], key.shape[2]):
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = self._softmax(scores)
        self._weights.append(weights)
        self._attention_was_called()
        return weights @ value

    def _fits(self, rows: int, columns: int) -> bool:
        """Whether the weights of one more layer, for one image, may be recorded."""
        self._values += rows * columns
        self.too_large = self.too_large or self._values > MAX_VALUES
        if self.too_large:
            self._attention_was_called()
        return not self.too_large

    def _softmax(self, scores: Tensor) -> Tensor:
        """Softmax of the scores of one layer: as part of the graph, or written into its place in a buffer."""
        index = len(self._weights)
        if self.gradients_from is not None:
            return self._in_graph(scores.softmax(-1), index)
        if self.layers and index == 0:
            self._buffer = scores.new_empty(self.layers, *scores.shape)
        if self._buffer is None or index >= len(self._buffer):
            return scores.softmax(-1)
        return torch.softmax(scores, -1, out=self._buffer[index])

    def _multi_head_attention(
        self, query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_heads: int, *args, **kwargs
    ) -> tuple[Tensor, Tensor | None]:
        """``F.multi_head_attention_forward`` for self-attention that masks nothing; others are not recorded.

        Its arguments here are those that ``nn.MultiheadAttention`` gives; the tokens come first: (T, B, dim).
        """
        in_weight, in_bias, bias_k, _, add_zero_attn, _, out_weight, out_bias = args
        masks = kwargs.get("key_padding_mask"), kwargs.get("attn_mask")
        masked = any(mask is not None and mask.any() for mask in masks)
        unusual = masked or bias_k is not None or add_zero_attn or in_weight is None
        unusual = unusual or kwargs.get("use_separate_proj_weight") or query.ndim != 3
        if unusual or not (query is key or torch.equal(query, key)):
            self.incomplete = self.incomplete or len(query) > 1
            return F.multi_head_attention_forward(query, key, value, embed_dim, num_heads, *args, **kwargs)
        biases = (None,) * 3 if in_bias is None else in_bias.chunk(3)
        q, k, v = (  # (B, heads, T, head_dim); the values may be other tokens, without positions
            F.linear(tokens.transpose(0, 1), weight, bias).unflatten(-1, (num_heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, key, value), in_weight.chunk(3), biases, strict=True)
        )
        output = self._scaled_dot_product_attention(q, k, v)  # (B, heads, T, head_dim)
        output = F.linear(output.permute(2, 0, 1, 3).flatten(2), out_weight, out_bias)  # (T, B, dim)
        if self.too_large:
            return output, None
        weights = self._weights[-1]
        if not kwargs.get("need_weights", True):
            return output, None
        return output, weights.mean(1) if kwargs.get("average_attn_weights", True) else weights

    def _in_graph(self, weights: Tensor, index: int) -> Tensor:
        """The weights, from the layer `gradients_from` on as part of the graph."""
        if self.gradients_from is None or index < self.gradients_from:
            return weights
        torch.set_grad_enabled(True)  # until the end of the caller's torch.no_grad()
        return weights if weights.requires_grad else weights.requires_grad_()

    def _attention_was_called(self) -> None:
        self.norm_weight, self.norm_shape = self._last_norm_weight, self._last_norm_shape


def _shape_of_softmax(
    input: Tensor,  # noqa: A002  the name that torch.softmax gives it
    dim: int | None = None,
    *_: Any,
    **__: Any,
) -> torch.Size | None:
    """The shape (B, heads, T, S), or with more dimensions, of what a softmax makes attention of, or None.

    A single row, such as that of a pooling, is no attention between tokens.
    """
    shape = input.shape
    return shape if len(shape) >= 4 and shape[-2] > 1 and dim in (-1, len(shape) - 1) else None
