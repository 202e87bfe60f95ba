"""Compare the attention that `Explainer` reads with the unfused attention of each library; write the table.

    PYTHONPATH=. python docs/architectures.py

Needs timm. Takes a few minutes on a CPU. Writes architectures.md beside this file.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer
from tqdm import tqdm

from medvit.explain import Explainer

TOLERANCE = 1e-5
INIT_GAIN = 1.2  # standard deviation of the weights times the root of their inputs
TIMM: dict[str, dict[str, Any]] = {  # names and arguments of timm.create_model
    "vit_tiny_patch16_224": {},
    "vit_small_patch32_224": {},
    "vit_tiny_r_s16_p8_224": {},
    "vit_base_patch32_224": dict(depth=4),
    "vit_medium_patch16_gap_240": dict(depth=4),
    "vit_pwee_patch16_reg1_gap_256": dict(depth=4),
    "vit_little_patch16_reg4_gap_256": dict(depth=4),
    "vit_betwixt_patch16_rope_reg4_gap_256": dict(depth=4),
    "vit_relpos_small_patch16_224": dict(depth=4),
    "vit_srelpos_small_patch16_224": dict(depth=4),
    "vit_xsmall_patch16_clip_224": dict(depth=4),
    "vit_base_patch32_clip_224": dict(depth=4),
    "vit_base_patch16_siglip_224": dict(depth=4),
    "vit_small_patch14_dinov2": dict(depth=2),
    "vit_small_patch14_reg4_dinov2": dict(depth=2),
    "vit_small_patch16_dinov3": dict(depth=4),
    "vit_wee_patch16_reg1_gap_256": dict(depth=4),
    "flexivit_small": dict(depth=4),
    "deit_tiny_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "deit3_small_patch16_224": dict(depth=4),
    "beit_base_patch16_224": dict(depth=3),
    "beitv2_base_patch16_224": dict(depth=3),
    "eva02_tiny_patch14_224": dict(depth=4),
    "cait_xxs24_224": dict(depth=4),
    "swin_tiny_patch4_window7_224": {},
    "maxvit_pico_rw_256": {},
    "pit_ti_224": {},
    "levit_128s": {},
    "resnet18": {},
}
SMALL = dict(image_size=112, patch_size=16, hidden_size=96, num_hidden_layers=4, num_attention_heads=4)
SMALL |= dict(intermediate_size=192)
TRANSFORMERS = {  # names of classes in transformers, and more of their configuration
    "ViT": {},
    "DeiT": {},
    "Beit": dict(use_relative_position_bias=True),
    "Dinov2": {},
    "Dinov2WithRegisters": {},
    "ViTMSN": {},
    "IJepa": {},
    "CLIP": {},
    "Siglip": {},
}


@dataclass(frozen=True)
class Row:
    """What was measured of one architecture; `problem` instead of measurements where attention is refused."""

    library: str
    name: str
    problem: str
    shape: tuple[int, ...] = ()  # layers, heads, tokens
    attention: float = 0.0  # largest difference
    gradient: float = 0.0  # largest difference, of the largest gradient
    peak: float = 0.0  # mean over all rows of the largest weight in the row
    drops_tokens: bool = False

    def to_markdown(self) -> str:
        if self.problem:
            return f"| {self.library} | {self.name} | refused | | | | | | |"
        layers, heads, tokens = self.shape
        differences = f"{self.attention:.0e} | {self.gradient:.0e} | {self.peak:.2f}"
        drops = "yes" if self.drops_tokens else "no"
        return f"| {self.library} | {self.name} | {layers} | {heads} | {tokens} | {differences} | {drops} |"


def models() -> Iterator[tuple[str, str, Callable[[], nn.Module]]]:
    """Yield (library, name, function that builds the model with random weights)."""
    for name, arguments in TIMM.items():
        yield (
            "timm",
            name,
            lambda name=name, arguments=arguments: timm.create_model(name, num_classes=10, **arguments),
        )
    yield (
        "torchvision",
        "vit_b_16, 4 layers",
        lambda: VisionTransformer(224, 16, 4, 12, 768, 3072, num_classes=10),
    )
    yield (
        "torchvision",
        "vit_b_32, 4 layers",
        lambda: VisionTransformer(224, 32, 4, 12, 768, 3072, num_classes=10),
    )
    for name, more in TRANSFORMERS.items():
        yield "transformers", name, lambda name=name, more=more: build_transformers(name, more)


def build_transformers(name: str, more: dict[str, Any]) -> nn.Module:
    """A small image classifier of transformers."""
    settings = SMALL | more
    config_class = getattr(transformers, f"{name}Config")
    if name in ("CLIP", "Siglip"):
        config = config_class(vision_config=settings, num_labels=10)
    else:
        config = config_class(**settings, num_labels=10)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def randomize(model: nn.Module) -> None:
    """Give all matrices random weights with which attention is far from uniform; default ones are not."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                inputs = parameter[0].numel() if parameter.shape[0] > 1 else parameter.shape[-1]
                parameter.normal_(std=INIT_GAIN / inputs**0.5, generator=generator)


def reference(library: str, model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the attention weights of each layer in the graph, as the library computes them unfused."""
    if library == "transformers":
        model.set_attn_implementation("eager")
        output = model(inputs, output_attentions=True)
        return output.logits, list(output.attentions)
    weights: list[Tensor] = []
    if library == "torchvision":
        softmax = F.softmax

        def keep(*args: Any, **kwargs: Any) -> Tensor:
            weights.append(softmax(*args, **kwargs))  # (heads, T, T), of one image
            return weights[-1]

        def with_weights(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return args, kwargs | {"need_weights": True}

        with contextlib.ExitStack() as stack:
            for module in model.modules():
                if isinstance(module, nn.MultiheadAttention):
                    handle = module.register_forward_pre_hook(with_weights, with_kwargs=True)
                    stack.callback(handle.remove)
            stack.enter_context(patch.object(F, "softmax", keep))
            return model(inputs), weights
    for name, module in model.named_modules():  # timm, with fused attention switched off
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if name.endswith("attn_drop"):
            module.register_forward_pre_hook(lambda _, args: weights.append(args[0]))
    return model(inputs), weights


def measure(library: str, name: str, model: nn.Module) -> Row:
    """Compare one model with its unfused reference."""
    randomize(model.eval())
    explainer = Explainer(model)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, 3, *explainer.preparation.input_size, generator=generator)
    structure = explainer.structure(inputs)
    if not structure.layers:
        return Row(library, name, structure.problem)
    result = explainer(inputs, target=0)
    assert result.attentions is not None
    logits, weights = reference(library, model, inputs)
    weights = [layer for layer in weights if layer.shape[-1] == layer.shape[-2]][: structure.layers]
    gradients = torch.autograd.grad(logits[0, 0], weights)
    expected, expected_gradients = (
        torch.stack([layer.detach().reshape(result.attentions.shape[1:]) for layer in layers])
        for layers in (weights, gradients)
    )
    own = result.gradients[0].attentions
    assert own is not None
    gradient = (own - expected_gradients).abs().max() / expected_gradients.abs().max()
    return Row(
        library,
        name,
        "",
        tuple(expected.shape[:3]),
        float((result.attentions - expected).abs().max()),
        float(gradient),
        float(expected.amax(-1).mean()),
        structure.first_block is not None,
    )


HEADER = """# Architectures

Generated by `docs/architectures.py`, with PyTorch {torch}, timm {timm}, torchvision {torchvision} and
transformers {transformers}, float32 on a CPU, on one random image. Every matrix of a model has random weights
(normal, standard deviation {gain} / root of the number of inputs), so this checks how attention is read, not
what trained models do. Many models are built with fewer layers than usual; those of transformers are small,
for 112 pixels.

The reference is each library's own unfused attention: `fused_attn = False` in timm, `need_weights=True` in
torchvision, `attn_implementation="eager"` in transformers.

- **attention**: the largest absolute difference over all attention weights of all layers.
- **gradient**: the largest absolute difference of the gradients of one logit with respect to all attention
  weights, as a fraction of the largest gradient.
- **peak**: the largest weight in a row of the reference's attention, mean over all rows; with uniform
  attention it is 1 / tokens.
- **token occlusion**: whether patch tokens can be dropped after the position embedding.

Attention is read in {count} of {all} architectures; the largest difference is {attention:.0e} in attention
and {gradient:.0e} in gradients. For the others maps from attention are refused: no attention between all
patches can be read. CAMs and occlusion do not need it.

| library | model | layers | heads | tokens | attention | gradient | peak | token occlusion |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure all models and write the table; fails where a difference is above the tolerance."""
    timm.layers.set_fused_attn(True)
    rows = []
    for library, name, build in tqdm(list(models())):
        torch.manual_seed(0)
        rows.append(measure(library, name, build()))
    readable = [row for row in rows if not row.problem]
    attention, gradient = max(row.attention for row in readable), max(row.gradient for row in readable)
    libraries = (torch, timm, torchvision, transformers)
    versions = {library.__name__: library.__version__.split("+")[0] for library in libraries}
    counts = dict(gain=INIT_GAIN, count=len(readable), all=len(rows), attention=attention, gradient=gradient)
    table = "\n".join(row.to_markdown() for row in rows) + "\n"
    Path(__file__).with_suffix(".md").write_text(HEADER.format(**versions, **counts) + table)
    if max(attention, gradient) > TOLERANCE:
        raise SystemExit(f"A difference is above {TOLERANCE:.0e}.")


if __name__ == "__main__":
    main()
