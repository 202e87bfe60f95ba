"""Tiny models, so that a training run in a test takes about a second."""

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medvit.training.recipes import Recipe, recipe
from medvit.training.train import train

TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY: dict[str, dict[str, Any]] = {
    "cnn": {"width": 4, "depths": [1, 1, 1, 1]},
    "vit": TRANSFORMER,
    "spt_lsa": TRANSFORMER,
    "vit_finetuned": {},
}


def tiny_recipe(subset: str, model: str, **fields: Any) -> Recipe:
    """The dataset's recipe for a tiny model, in two epochs without averaging and mixing."""
    size = None if model == "vit_finetuned" else 28
    defaults = dict(epochs=2, batch_size=16, image_size=size, ema=0.0, mixup=0.0, cutmix=0.0)
    config = TINY[model] | fields.pop("config", {})
    return replace(recipe(subset, model), **defaults | {"config": config} | fields)


@pytest.fixture(scope="session", autouse=True)
def frozen_objects() -> None:
    """Exempt the imported libraries from garbage collection: the Trainer collects in every run."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def quick_train(synthetic_root, backbone, tmp_path) -> Callable[..., Path]:
    """`quick_train(subset, model, name, **options)`: train a tiny model into tmp_path / name.

    Options that are no argument of `train` are fields of the recipe.
    """
    arguments = {"initial_checkpoint", "teachers", "seed", "resume", "save_seconds", "backbone", "trust"}

    def run(subset: str, model: str, name: str = "out", **options: Any) -> Path:
        given = {key: options.pop(key) for key in arguments & options.keys()}
        given = {"backbone": str(backbone), "trust": False, "data_root": synthetic_root} | given
        return train(subset, model, tiny_recipe(subset, model, **options), tmp_path / name, **given)

    return run
