"""What a model computes on the way to its answer, read without a change to it: features and attention.

`read` gives the features, what the classifier was given.

Attention is scaled dot-product attention. Every transformer here comes through `attend`, Hugging Face's own
through the attention implementation named "medvit". Normally it is PyTorch's fused kernel. Inside ``with
recording() as record:`` it also keeps the queries and keys of each layer, from which `Record.attentions`
computes the weights in one go, far cheaper than running every layer without the fused kernel. Inside ``with
recording(with_gradients=True)`` the weights are part of the graph, so that a logit can be differentiated with
respect to them.

Both belong to the thread that asked: others may use the same model meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMPLEMENTATION = "medvit"


@dataclass
class Record:
    """What one forward pass left: per layer the scaled queries, keys and mask, or the weights themselves.

    `activations`: with gradients, what came out of the layer that is listened to; see `listen`.

    With gradients, the graph begins at the first of these: what leads there costs no more than without.
    """

    with_gradients: bool
    scores: list[tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    activations: Tensor | None = None

    def attentions(self) -> Tensor:
        """The softmax weights of all layers, (layers, B, heads, T, T), detached."""
        if self.weights:
            return torch.stack([weights.detach() for weights in self.weights])
        queries, keys, masks = zip(*self.scores, strict=True)
        scores = torch.stack(queries) @ torch.stack(keys).transpose(-2, -1)  # (layers, B, heads, T, T)
        if masks[0] is not None:
            scores += masks[0]
        return scores.softmax(-1)


_record: ContextVar[Record | None] = ContextVar("record", default=None)


@contextmanager
def recording(with_gradients: bool = False) -> Iterator[Record]:
    """Record the attention of the models called inside the block, in this thread."""
    record = Record(with_gradients)
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)


def read(model: nn.Module, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
    """One forward pass over normalised images (B, 3, H, W), with or without gradients as the caller has it.

    Returns:
        logits (B, classes); and the features (B, D), detached: what the model's `classifier` was given, such
        as the class token after the last norm of a ViT. None where the model has no part of that name.
    """
    features = None
    caller = threading.get_ident()

    def keep(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal features
        if threading.get_ident() == caller:
            features = inputs[0].detach()

    classifier = getattr(model, "classifier", None)
    listening = nullcontext() if classifier is None else classifier.register_forward_pre_hook(keep)
    with listening:
        logits = model(pixel_values=pixel_values).logits
    return logits, features


def capture_activations(layer: nn.Module) -> None:
    """Have what comes out of a layer kept by the recordings of any caller that have gradients."""

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        record = _record.get()
        if record and record.with_gradients:
            record.activations = _in_graph(output)

    layer.register_forward_hook(keep)


def _in_graph(tensor: Tensor) -> Tensor:
    """The tensor, as the first of the graph where what it was computed from is frozen."""
    return tensor if tensor.requires_grad else tensor.requires_grad_()


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kT + mask) v for already scaled q.

    Args:
        q, k, v: (B, heads, T, dim).
        mask: (T, T), to add to the scores.
    """
    record = _record.get()
    # On a CPU the fused kernel's backward pass is slower than this one's: 55 against 143 images/s in bf16 on
    # one core.
    training_on_cpu = q.device.type == "cpu" and q.requires_grad
    if (record and record.with_gradients) or training_on_cpu:
        scores = q @ k.transpose(-2, -1)  # (B, heads, T, T)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        if record:
            record.weights.append(_in_graph(weights))
        return weights @ v
    if record:
        record.scores.append((q, k, mask))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


def _attend_as_hugging_face(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_,
) -> tuple[Tensor, None]:
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = attend(query * scaling, key, value, attention_mask)
    return output.transpose(1, 2).contiguous(), None


def make_recordable(model: PreTrainedModel) -> None:
    """Have a Hugging Face model's attention go through `attend`."""
    from transformers import AttentionInterface  # whoever has a model has imported transformers
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attend_as_hugging_face)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    model.set_attn_implementation(IMPLEMENTATION)
