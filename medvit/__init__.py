"""Train Vision Transformers on MedMNIST images, and look inside them.

    import medvit

    medvit.load("bloodmnist", "spt_lsa")("cell.png")   # {"label": ..., "probabilities": {...}, ...}
    medvit.Explainer("google/vit-base-patch16-224")("cat.png").overlay("relevance").save("why.png")

Importing the package is fast, and lets ``AutoModelForImageClassification.from_pretrained(folder)`` open every
checkpoint folder: the architectures are registered once transformers' Auto classes are imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from medvit.errors import MedvitError
from medvit.slow_imports import after_import

if TYPE_CHECKING:
    from medvit.explain import Explainer
    from medvit.inference.predictor import Prediction, Predictor, load

__all__ = ["Explainer", "MedvitError", "Prediction", "Predictor", "load"]
__version__ = "0.2.0"

_MODULES = {"Explainer": "medvit.explain"} | dict.fromkeys(
    ("Prediction", "Predictor", "load"), "medvit.inference.predictor"
)


def __getattr__(name: str) -> Any:
    if name in ("explain", "imaging"):
        return importlib.import_module(f"medvit.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'medvit' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def _register_configs() -> None:
    importlib.import_module("medvit.models").register_configs()


def _register_models() -> None:
    importlib.import_module("medvit.models").register_models()


after_import("transformers.models.auto.configuration_auto", _register_configs)
after_import("transformers.models.auto.modeling_auto", _register_models)
