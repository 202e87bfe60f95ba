"""Train Vision Transformers on MedMNIST images, and look inside them.

    import medvit

    medvit.load("bloodmnist", "spt_lsa")("cell.png")   # {"label": ..., "probabilities": {...}, ...}

Importing the package is fast, and lets ``AutoModelForImageClassification.from_pretrained(folder)`` open every
checkpoint folder: the architectures are registered once transformers' Auto classes are imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from medvit.errors import MedvitError
from medvit.slow_imports import after_import

if TYPE_CHECKING:
    from medvit.inference.predictor import Prediction, Predictor, load

__all__ = ["MedvitError", "Prediction", "Predictor", "load"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'medvit' has no attribute {name!r}")
    return getattr(importlib.import_module("medvit.inference.predictor"), name)


after_import(
    "transformers.models.auto.modeling_auto", lambda: importlib.import_module("medvit.models").register()
)
