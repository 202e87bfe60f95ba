"""Other libraries of explanation maps beside this one, where they are installed: torchcam, torchxai-explain,
captum and fast-vit-rollout, on the same models, input and kind of map.
"""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvit.benchmarks.common import Measurement, alternate, ratio
from medvit.explain import METHODS, Explainer

ROUNDS = 10
# Names of timm; two layers each where the model has a depth, as only the time beside each other counts.
ARCHITECTURES = (
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_little_patch16_reg4_gap_256",
    "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "resnet18",
)  # fmt: skip
HAVE_DEPTH = ("vit", "deit", "beit")

Run = Callable[[], Any]


def _torchcam(model: nn.Module, inputs: Tensor, target: int, layer: str) -> Run:
    from torchcam.methods import GradCAM

    extractor = GradCAM(model, layer, reshape_transform=_tokens_to_grid)
    return lambda: extractor(target, model(inputs))[0]


def _tokens_to_grid(values: Tensor) -> Tensor:
    """Tokens (1, T, C), or a map (1, h, w, C) of Swin, to (1, C, h, w); others stay, as of a convolution."""
    if values.ndim == 3:
        side = int(values.shape[1] ** 0.5)
        return values[:, -(side**2) :].transpose(1, 2).unflatten(-1, (side, side))
    return values.permute(0, 3, 1, 2) if values.shape[-1] > values.shape[1] else values


def _torchxai(method: str, model: nn.Module, inputs: Tensor, target: int, layer: str) -> Run:
    from torchxai import explain

    return lambda: explain(model, inputs, method=method, target_class=target)


def _captum(model: nn.Module, inputs: Tensor, target: int, layer: str) -> Run:
    from captum.attr import LayerGradCam

    method = LayerGradCam(model, model.get_submodule(layer))
    return lambda: method.attribute(inputs, target=target).detach()[0]


def _fast_vit_rollout(model: nn.Module, inputs: Tensor, target: int, layer: str) -> Run:
    from fast_vit_rollout.vit_rollout import ViTAttentionRollout

    rollout = ViTAttentionRollout(model, discard_ratio=0.0)

    def run() -> Tensor:
        rollout.attentions.clear()
        with torch.no_grad():
            model(inputs)
        return rollout._compute_rollout()[0, 0]

    return run


@dataclass(frozen=True)
class Peer:
    """A map of another library: its package, the same map here, and what prepares a run of it."""

    package: str
    method: str
    prepare: Callable[[nn.Module, Tensor, int, str], Run]


PEERS = (
    Peer("torchcam", "grad_cam", _torchcam),
    Peer("captum", "grad_cam", _captum),
    Peer("torchxai", "grad_cam", partial(_torchxai, "gradcam")),
    Peer("torchxai", "rollout", partial(_torchxai, "rollout")),
    Peer("torchxai", "relevance", partial(_torchxai, "attribution")),
    Peer("fast_vit_rollout", "rollout", _fast_vit_rollout),
)


def measure(rounds: int) -> Iterator[Measurement]:
    """For each architecture and map of an installed library: its time / ours, or that one of both fails."""
    peers = [peer for peer in PEERS if importlib.util.find_spec(peer.package)]
    for name in ARCHITECTURES if peers else ():
        explainer = Explainer(_build(name))
        inputs = torch.randn(1, 3, *explainer.preparation.input_size)
        for peer in peers:
            with _no_output():
                measurement = _compare(peer, explainer, inputs, min(rounds, ROUNDS))
            yield replace(measurement, name=f"{peer.package} {peer.method}, {name}: {measurement.name}")


def _compare(peer: Peer, explainer: Explainer, inputs: Tensor, rounds: int) -> Measurement:
    target = explainer(inputs).top
    layer = _name_of(explainer.model, explainer.structure().cam_layer)
    model = copy.deepcopy(explainer.model)  # hooks that a library leaves behind are of the copy
    run, problem = _try(partial(peer.prepare, model, inputs, target, layer))
    if problem:
        return Measurement(f"fails ({problem})", 0, "maps")
    if explainer.why_not(peer.method):
        return Measurement("gives a map, which is refused here", 1, "maps")
    ours = partial(_ours, explainer, inputs, target, peer.method)
    seconds = alternate({"peer": run, "ours": ours}, rounds, warm_up=1)
    return Measurement("time / ours", ratio(seconds, "peer", "ours"), "x")


def _build(name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    options: dict[str, Any] = {"depth": 2} if name.startswith(HAVE_DEPTH) else {}
    if name.startswith("resnet"):
        options = {"zero_init_last": False}  # otherwise its residual branches give zero without training
    return timm.create_model(name, **options).eval()


def _name_of(model: nn.Module, layer: nn.Module | None) -> str:
    return next(name for name, module in model.named_modules() if module is layer)


def _ours(explainer: Explainer, inputs: Tensor, target: int, method: str) -> np.ndarray:
    return explainer(inputs, **METHODS[method].call_options(target)).heatmap(method, target)


def _try(prepare: Callable[[], Run]) -> tuple[Run, str]:
    """A run, and why it gives no map of the image; "" where it gives one."""
    try:
        run = prepare()
        values = np.asarray(torch.as_tensor(run()).detach().squeeze())
    except Exception as error:  # noqa: BLE001  whatever another library raises
        lines = str(error).strip().splitlines()
        return lambda: None, f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
    if values.ndim == 1:  # of all tokens in order, which the caller can put into a grid
        patches = int(len(values) ** 0.5) ** 2
        if not 0 <= len(values) - patches <= 8 or patches < 4:
            return run, f"its result {values.shape} is no map of patches"
    elif values.ndim != 2 or min(values.shape) < 2:
        return run, f"its result {values.shape} is no map"
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return run, "its map is constant or not finite"
    return run, ""


@contextmanager
def _no_output() -> Iterator[None]:
    """Without the warnings of other libraries."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
