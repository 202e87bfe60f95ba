"""Arrays to plotly figures and images. Pure functions; nothing here reads files or runs models."""

from medvit.plots.confidence import confidence_diagram
from medvit.plots.curves import (
    insertion_deletion_curves,
    learning_curve,
    operating_point,
    precision_recall_curves,
    roc_curves,
)
from medvit.plots.dataset import class_balance, intensity_histogram
from medvit.plots.images import DISPLAY_SIDE, apply_colormap, data_url, enlarge, overlay
from medvit.plots.predictions import confusion_matrix, label_counts
from medvit.plots.reliability import corruption_errors, reliability_diagram
from medvit.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "DISPLAY_SIDE",
    "apply_colormap",
    "class_balance",
    "confidence_diagram",
    "confusion_matrix",
    "corruption_errors",
    "data_url",
    "enlarge",
    "insertion_deletion_curves",
    "intensity_histogram",
    "label_counts",
    "learning_curve",
    "operating_point",
    "overlay",
    "precision_recall_curves",
    "reliability_diagram",
    "roc_curves",
]
