"""Runs a transformer on some of the tokens of an image; the others are dropped, not painted over.

A hook on the first block, behind the position embedding, selects the tokens, so that those that stay keep
their positions. The model is not changed: the hook is removed afterwards and ignores the passes of other
threads.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medvit.explain.attention_recorder import AttentionRecorder


@contextmanager
def kept_tokens(block: nn.Module, kept: Tensor) -> Iterator[None]:
    """Keep only some tokens of the one image that the model is run on inside the `with` statement.

    Args:
        block: the module whose first argument, or `hidden_states`, is the tokens: (1, T, dim) or (T, 1, dim).
        kept: (N, K), for each of N results the indices of the tokens that are kept; the image is embedded
            once, and the model gives N outputs.

    Raises:
        ValueError: the module does not receive the tokens of one image.
    """
    caller = threading.get_ident()

    def select(
        _module: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None
    ) -> tuple[tuple, dict[str, Any]] | None:
        # Another thread may see this hook before it is marked as one that gets kwargs.
        if threading.get_ident() != caller or kwargs is None:
            return None
        tokens = args[0] if args else kwargs.get("hidden_states")
        if not isinstance(tokens, Tensor) or tokens.ndim != 3 or 1 not in tokens.shape[:2]:
            raise ValueError("The module does not receive the tokens of one image.")
        indices = kept.to(tokens.device)  # (N, K)
        # (N, K, dim), or (K, N, dim) where the tokens come first
        selected = tokens[0, indices] if len(tokens) == 1 else tokens[indices.T, 0]
        return ((selected, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": selected})

    with block.register_forward_pre_hook(select, with_kwargs=True):
        yield


def find_first_block(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    inputs: Tensor,
    layers: int,
    tokens: int,
    patches: int,
    first: int,
) -> nn.Module | None:
    """The first transformer block, if patch tokens can be dropped at its input; otherwise None.

    They can where all attention layers then work on the tokens that are left, and the order of the patch
    tokens does not change the logits: positions must enter the model before the first block, and no later, as
    a relative position bias or a rotary embedding does.

    Args:
        logits: the forward pass, inputs (1, 3, H, W) to logits (1, classes).
        layers, tokens, patches: number of attention layers, of tokens, and of the patches among them.
        first: index of the first patch among the tokens.
    """
    before, after = torch.arange(first), torch.arange(first + patches, tokens)
    few = first + torch.tensor([0, patches // 2, patches - 1])
    kept = torch.stack([torch.cat([before, order, after]) for order in (few, few.roll(1))])  # (2, prefix + 3)
    for block in _first_blocks(model, layers):
        try:
            with torch.no_grad(), AttentionRecorder() as recorder, kept_tokens(block, kept):
                output = logits(inputs)
        except Exception:  # noqa: BLE001, S112  whatever a model raises on a number of tokens it cannot have
            continue
        dropped = all(weights.shape[-1] == kept.shape[1] for weights in recorder.weights[:layers])
        if dropped and len(output) == 2 and len(recorder.weights) >= layers:
            tolerance = 1e-3 * float(output.abs().max())
            if torch.allclose(output[0], output[1], rtol=1e-3, atol=tolerance):
                return block
    return None


def _first_blocks(model: nn.Module, layers: int) -> Iterator[nn.Module]:
    """The first module of each list of `layers` modules of one class, the outermost list first."""
    for module in model.modules():
        blocks = list(module) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        if len(blocks) == layers and len({type(block) for block in blocks}) == 1:
            yield blocks[0]
