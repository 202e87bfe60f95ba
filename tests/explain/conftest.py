"""Small models and their explainers."""

import pytest
import torch
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
