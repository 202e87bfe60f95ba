"""medvit: train Vision Transformers on MedMNIST images, and look inside them.

    import medvit
    medvit.load("bloodmnist", "spt_lsa")("cell.png")   # {"label": ..., "probabilities": {...}, ...}

Importing the package registers its architectures, so that
``transformers.AutoModelForImageClassification.from_pretrained(folder)`` opens every checkpoint folder.
"""

from medvit import models as _models  # noqa: F401  registers the architectures
from medvit.errors import MedvitError
from medvit.predictor import Prediction, Predictor, load

__all__ = ["MedvitError", "Prediction", "Predictor", "load"]
__version__ = "0.1.0"
