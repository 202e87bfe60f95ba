"""Small models and their explainers."""

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from medvit import models
from medvit.data import medmnist, synthetic
from medvit.explain import Explainer, ForwardPass
from medvit.imaging import Preprocessing, to_tensor

BLOOD = medmnist.get("bloodmnist")
SMALL = dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4)


@pytest.fixture
def explained(backbone):
    """`explained(name)`: a small model by its name, and the forward pass of a synthetic image."""

    def build(name: str, dataset=BLOOD) -> tuple[torch.nn.Module, ForwardPass]:
        torch.manual_seed(0)
        config = SMALL if name in ("vit", "spt_lsa") else {"width": 8} if name == "cnn" else {}
        model, preprocessing = models.build(name, dataset, str(backbone), **config)
        explainer = Explainer(model.eval(), preprocessing)
        return model, explainer(to_tensor(synthetic.draw("bloodmnist", 0)[None]))

    return build


def small_vit(**config) -> ViTForImageClassification:
    """A ViT of transformers for 32 pixels and four classes, in evaluation mode."""
    torch.manual_seed(0)
    sizes = dict(image_size=32, patch_size=8, hidden_size=24, intermediate_size=48)
    sizes |= dict(num_hidden_layers=3, num_attention_heads=2, num_labels=4)
    return ViTForImageClassification(ViTConfig(**sizes | config)).eval()


def without_normalisation(size: int = 32) -> Preprocessing:
    """Pixels 0..255 to 0..1."""
    return Preprocessing(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class PlainViT(nn.Module):
    """A ViT of PyTorch's own layers for 32 pixels, patches of 8 and four classes; in evaluation mode.

    Args:
        last: whether the tokens beside the patches, the class token and registers, are behind them.
        extra: number of these tokens.
    """

    def __init__(self, last: bool = False, extra: int = 1, batch_first: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.last, self.batch_first = last, batch_first
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.extra = nn.Parameter(torch.randn(1, extra, 32))
        self.position = nn.Parameter(torch.randn(1, 16, 32) / 2)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
        self.eval()

    def features(self, images):
        patches = self.embed(images).flatten(2).transpose(1, 2) + self.position
        extra = self.extra.expand(len(images), -1, -1)
        x = torch.cat([patches, extra] if self.last else [extra, patches], 1)
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return x[:, -self.extra.shape[1] if self.last else 0]

    def forward(self, images):
        return self.head(self.features(images))
