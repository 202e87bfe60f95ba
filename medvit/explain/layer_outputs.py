"""The outputs of one layer as part of the graph, so that a logit can be differentiated by them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn


@contextmanager
def outputs_in_graph(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collect the outputs of a layer, as part of the graph; it begins there where it has not begun before."""
    outputs: list[Tensor] = []
    caller = threading.get_ident()

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor | None:
        if threading.get_ident() != caller:
            return None
        torch.set_grad_enabled(True)  # until the end of the caller's torch.no_grad()
        if output.requires_grad:
            outputs.append(output)
            return output
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()  # what follows may change it in place, which a leaf does not allow

    with layer.register_forward_hook(keep) if layer is not None else nullcontext():
        yield outputs
