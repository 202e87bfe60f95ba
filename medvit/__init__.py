"""medvit: train Vision Transformers on MedMNIST images, and look inside them.

    import medvit
    medvit.load("bloodmnist", "spt_lsa")("cell.png")   # {"label": ..., "probabilities": {...}, ...}

Importing the package registers its architectures, so that
``transformers.AutoModelForImageClassification.from_pretrained(folder)`` opens every checkpoint folder.
"""

import os

from medvit import models
from medvit.errors import MedvitError
from medvit.inference.predictor import Prediction, Predictor, load

__all__ = ["MedvitError", "Prediction", "Predictor", "load"]
if not os.environ.get("MEDVIT_LAZY"):  # app.py sets it: a page can be served before transformers is loaded
    models.register()

__version__ = "0.1.0"
