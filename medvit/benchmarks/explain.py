"""Explanations against a bare forward pass, and against what users assemble today; batch 1, CPU."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from medvit import checkpoint, explain, plots
from medvit.data import synthetic
from medvit.explain import Explainer, MapOptions
from medvit.imaging.preprocess import to_tensor

from .common import Figure, alternate, ratio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, default=checkpoint.DEFAULT_ROOT / "bloodmnist" / "vit_finetuned"
    )
    parser.add_argument("--rounds", type=int, default=60, help="[%(default)s]")
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; more disturb each other [%(default)s]"
    )


class Logits(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def assembled(model: nn.Module, processor, picture: Image.Image) -> None:
    """The same outputs as users assemble them: eager attention, its gradients, and pytorch-grad-cam."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    inputs = processor(picture, return_tensors="pt")["pixel_values"]
    output = model(pixel_values=inputs, output_attentions=True)
    target = int(output.logits.argmax())
    for attention in output.attentions:
        attention.retain_grad()
    output.logits[0, target].backward()
    attentions = torch.cat(output.attentions).detach()
    gradients = torch.cat([attention.grad for attention in output.attentions])
    model.zero_grad()
    rollout = relevance = torch.eye(attentions.shape[-1])
    for weights, gradient in zip(attentions, gradients, strict=True):  # as their papers' code does it
        mixed = weights.mean(0) + torch.eye(weights.shape[-1])
        rollout = (mixed / mixed.sum(-1, keepdim=True)) @ rollout
        relevance = relevance + (gradient * weights).clamp(min=0).mean(0) @ relevance
    side = round((attentions.shape[-1] - 1) ** 0.5)

    def reshape(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].transpose(1, 2).unflatten(-1, (side, side))

    layers = [model.vit.layers[-1].layernorm_before]
    with GradCAM(Logits(model), layers, reshape_transform=reshape) as method:
        method(inputs, [ClassifierOutputTarget(target)])
    model.zero_grad()


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    """Yield the figures; `args` as `add_arguments` defines them."""
    torch.set_num_threads(args.threads)
    found = checkpoint.load(args.checkpoint)
    pixels = to_tensor(synthetic.draw(found.subset.name, 0)[None])
    inputs = found.preprocessing(pixels)
    bare = found.model  # transformers' own default, the fused kernel
    eager = AutoModelForImageClassification.from_pretrained(
        args.checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    processor = AutoImageProcessor.from_pretrained(args.checkpoint)
    picture = Image.fromarray(synthetic.draw(found.subset.name, 0))
    explainer = Explainer(bare, found.preprocessing)

    def forward() -> None:
        with torch.no_grad():
            bare(pixel_values=inputs)

    def attention() -> None:
        explainer(pixels)

    def everything() -> None:
        seen = explainer(pixels, target=-1)
        for name in ("attention", "rollout", "relevance"):
            explain.heatmap(explainer, seen, name)

    def everything_and_cam() -> None:
        seen = explainer(pixels, target=-1)
        for name in ("attention", "rollout", "relevance", "grad_cam"):
            explain.heatmap(explainer, seen, name)

    seen = explainer(pixels, target=-1)
    source = seen.picture
    moves = iter(range(10**9))

    def slider() -> Image.Image:
        move = next(moves)
        choice = MapOptions(int(seen.logits.argmax()), layer=move % len(seen.attentions))
        values = explain.scale(explain.heatmap(explainer, seen, "attention", choice))
        return plots.overlay(source, values, opacity=move % 10 / 10)

    candidates = {
        "forward": forward,
        "attention": attention,
        "everything": everything,
        "everything and Grad-CAM": everything_and_cam,
        "assembled": lambda: assembled(eager, processor, picture),
        "slider": slider,
    }
    seconds = alternate(candidates, args.rounds)
    milliseconds = sorted(seconds["slider"])[args.rounds // 2] * 1e3
    yield Figure(
        "prediction and all attention / bare forward", ratio(seconds, "attention", "forward"), "x", 1.25
    )
    yield Figure(
        "prediction, attention, rollout, relevance / bare forward",
        ratio(seconds, "everything", "forward"),
        "x",
        4,
    )
    yield Figure(
        "eager attention, gradients and pytorch-grad-cam / prediction, attention, rollout, relevance",
        ratio(seconds, "assembled", "everything"),
        "x",
    )
    yield Figure(
        "eager attention, gradients and pytorch-grad-cam / the same set of ours",
        ratio(seconds, "assembled", "everything and Grad-CAM"),
        "x",
        3,
        at_least=True,
    )
    yield Figure("moving a slider", milliseconds, "ms", 50)
