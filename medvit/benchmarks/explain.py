"""Explanation maps beside a bare forward pass, and beside what users assemble today; batch 1, CPU.

Where torchcam, torchxai-explain, captum or fast-vit-rollout are installed, also beside theirs; see `peers`.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from medvit import explain, plots
from medvit.argument_types import at_least
from medvit.benchmarks import peers
from medvit.benchmarks.common import Measurement, alternate, ratio
from medvit.explain import Explainer

VIT_TINY = ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768)
TARGETS = {"rollout": 1.15, "relevance": 2.2} | dict.fromkeys(
    ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"), 1.15
)  # forward passes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark explain`."""
    add = parser.add_argument
    add("--model", type=Path, help="folder of a ViT of transformers [ViT-Tiny at 224 pixels, random weights]")
    add("--rounds", type=at_least(1), default=60, help="[%(default)s]")
    add("--threads", type=at_least(1), default=1, help="of PyTorch; more add noise [%(default)s]")


class _Candidates:
    """The programs that are timed, for one model and an input of noise that is prepared already."""

    def __init__(self, folder: Path) -> None:
        self.explainer = Explainer(folder)
        self.model = self.explainer.model  # with transformers' default, the fused kernel
        self.eager = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.inputs = torch.randn(1, 3, *self.explainer.preparation.input_size)
        self.forward_pass = self.explainer(self.inputs, target=-1)
        self.moves = 0

    def forward(self) -> None:
        """A bare forward pass."""
        with torch.no_grad():
            self.model(pixel_values=self.inputs)

    def attention(self) -> None:
        """The prediction and the attention of all layers."""
        self.explainer(self.inputs)

    def one_map(self, method: str) -> None:
        """The prediction and one map of the most probable class."""
        self.explainer(self.inputs, **explain.METHODS[method].call_options()).heatmap(method)

    def maps(self, *methods: str) -> None:
        """The prediction and several maps of the most probable class."""
        forward_pass = self.explainer(self.inputs, target=-1)
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
        output = self.eager(pixel_values=self.inputs, output_attentions=True)
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
            method(self.inputs, [ClassifierOutputTarget(target)])
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
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            torch.manual_seed(0)
            ViTForImageClassification(VIT_TINY).save_pretrained(folder)
            ViTImageProcessor().save_pretrained(folder)
        candidates = _Candidates(args.model or Path(folder))
    names = ("forward", "attention", "three_maps", "four_maps", "assembled", "slider")
    methods = candidates.explainer.methods()
    runs = {name: getattr(candidates, name) for name in names}
    slow = {"forward": candidates.forward}
    for method in methods:  # occlusion takes a forward pass for each patch
        (slow if "occlusion" in method else runs)[f"map {method}"] = partial(candidates.one_map, method)
    seconds, seconds_slow = alternate(runs, args.rounds), alternate(slow, min(args.rounds, 3), warm_up=0)
    three = "prediction, attention, rollout, relevance"
    users = "eager attention, gradients and pytorch-grad-cam"
    yield Measurement(
        "prediction and all attention / bare forward", ratio(seconds, "attention", "forward"), "x", 1.1
    )
    yield Measurement(f"{three} / bare forward", ratio(seconds, "three_maps", "forward"), "x", 2.2)
    yield Measurement(
        f"{users} / the same maps here", ratio(seconds, "assembled", "four_maps"), "x", 2.8, at_least=True
    )
    for method in methods:
        name = f"map {method}"
        value = ratio(seconds_slow if name in slow else seconds, name, "forward")
        yield Measurement(f"prediction and {method} / bare forward", value, "x", TARGETS.get(method))
    yield from peers.measure(args.rounds)
    yield Measurement("moving a slider", sorted(seconds["slider"])[args.rounds // 2] * 1e3, "ms", 50)
