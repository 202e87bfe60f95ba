"""Explanation maps beside a bare forward pass, and beside what users assemble today; batch 1, CPU.

Where torchcam, torchxai-explain, captum or fast-vit-rollout are installed, also beside theirs; see `peers`.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from medvit import checkpoint, explain, plots
from medvit.benchmarks import peers
from medvit.benchmarks.common import Measurement, alternate, ratio
from medvit.data import synthetic
from medvit.explain import Explainer
from medvit.imaging import to_tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark explain`."""
    parser.add_argument(
        "--checkpoint", type=Path, default=checkpoint.DEFAULT_ROOT / "bloodmnist" / "vit_finetuned"
    )
    parser.add_argument("--rounds", type=int, default=60, help="[%(default)s]")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; more add noise [%(default)s]")


class _Candidates:
    """The programs that are timed, for one checkpoint and one synthetic image."""

    def __init__(self, folder: Path) -> None:
        item = checkpoint.load(folder)
        source = synthetic.draw(item.dataset.name, 0)
        self.pixels = to_tensor(source[None])
        self.inputs = item.preprocessing(self.pixels)
        self.model = item.model  # with transformers' default, the fused kernel
        self.explainer = Explainer(item.model, item.preprocessing)
        self.eager = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.processor = AutoImageProcessor.from_pretrained(folder)
        self.image = Image.fromarray(source)
        self.forward_pass = self.explainer(self.pixels, target=-1)
        self.moves = 0

    def forward(self) -> None:
        """A bare forward pass."""
        with torch.no_grad():
            self.model(pixel_values=self.inputs)

    def attention(self) -> None:
        """The prediction and the attention of all layers."""
        self.explainer(self.pixels)

    def one_map(self, method: str) -> None:
        """The prediction and one map of the most probable class."""
        kind = explain.METHODS[method]
        self.explainer(self.pixels, -1 if kind.gradients else None, kind.needs_attention).heatmap(method)

    def maps(self, *methods: str) -> None:
        """The prediction and several maps of the most probable class."""
        forward_pass = self.explainer(self.pixels, target=-1)
        for name in methods:
            forward_pass.heatmap(name)

    def three_maps(self) -> None:
        """The prediction, attention, rollout and relevance."""
        self.maps("attention", "rollout", "relevance")

    def four_maps(self) -> None:
        """Those and Grad-CAM."""
        self.maps("attention", "rollout", "relevance", "grad_cam")

    def slider(self) -> None:
        """Another layer and another opacity of the overlay."""
        self.moves += 1
        forward_pass = self.forward_pass
        assert forward_pass.attentions is not None
        layer = self.moves % len(forward_pass.attentions)
        values = explain.scale(forward_pass.heatmap("attention", layer=layer))
        plots.overlay(forward_pass.picture, values, opacity=self.moves % 10 / 10)

    def assembled(self) -> None:
        """The four maps as users assemble them: eager attention, its gradients, and pytorch-grad-cam."""
        inputs = self.processor(self.image, return_tensors="pt")["pixel_values"]
        output = self.eager(pixel_values=inputs, output_attentions=True)
        target = int(output.logits.argmax())
        for attention in output.attentions:
            attention.retain_grad()
        output.logits[0, target].backward()
        attentions = torch.cat(output.attentions).detach()  # (layers, heads, T, T)
        gradients = torch.cat([attention.grad for attention in output.attentions])
        self.eager.zero_grad()
        identity = torch.eye(attentions.shape[-1])
        rollout = relevance = identity
        for weights, gradient in zip(attentions, gradients, strict=True):  # as the papers' code does
            mixed = weights.mean(0) + identity
            rollout = (mixed / mixed.sum(-1, keepdim=True)) @ rollout
            relevance = relevance + (gradient * weights).clamp(min=0).mean(0) @ relevance
        side = round((attentions.shape[-1] - 1) ** 0.5)
        layers = [self.eager.vit.layers[-1].layernorm_before]

        def reshape(tokens: torch.Tensor) -> torch.Tensor:
            return tokens[:, 1:].transpose(1, 2).unflatten(-1, (side, side))

        with GradCAM(_Logits(self.eager), layers, reshape_transform=reshape) as method:
            method(inputs, [ClassifierOutputTarget(target)])
        self.eager.zero_grad()


class _Logits(nn.Module):
    """The model with its logits as the output, as pytorch-grad-cam needs it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> Any:
        return self.model(pixel_values=pixel_values).logits


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the ratios, and the milliseconds of moving a slider."""
    torch.set_num_threads(args.threads)
    candidates = _Candidates(args.checkpoint)
    names = ("forward", "attention", "three_maps", "four_maps", "assembled", "slider")
    methods = candidates.explainer.methods()
    runs = {name: getattr(candidates, name) for name in names}
    runs |= {f"map {method}": partial(candidates.one_map, method) for method in methods}
    seconds = alternate(runs, args.rounds)
    three = "prediction, attention, rollout, relevance"
    users = "eager attention, gradients and pytorch-grad-cam"
    yield Measurement(
        "prediction and all attention / bare forward", ratio(seconds, "attention", "forward"), "x", 1.25
    )
    yield Measurement(f"{three} / bare forward", ratio(seconds, "three_maps", "forward"), "x", 4)
    yield Measurement(f"{users} / {three}", ratio(seconds, "assembled", "three_maps"), "x")
    yield Measurement(
        f"{users} / the same maps here", ratio(seconds, "assembled", "four_maps"), "x", 3, at_least=True
    )
    for method in methods:
        yield Measurement(
            f"prediction and {method} / bare forward", ratio(seconds, f"map {method}", "forward"), "x"
        )
    yield from peers.measure(args.rounds)
    yield Measurement("moving a slider", sorted(seconds["slider"])[args.rounds // 2] * 1e3, "ms", 50)
