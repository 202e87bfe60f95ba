"""The main metrics of the test split as tiles."""

from typing import Any

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.ui import html


def render(checkpoint: Checkpoint) -> str:
    """Accuracy, balanced accuracy, macro F1 and AUC of a checkpoint as HTML; for grades also the ordinal metrics."""
    test = checkpoint.card["test"]
    low, high = test["accuracy_interval"]
    tiles = [
        ("accuracy", f"{test['accuracy']:.1%}", f"{low:.1%} to {high:.1%}{over_seeds(checkpoint)}"),
        ("balanced accuracy", f"{test['balanced_accuracy']:.1%}", "mean recall of the classes"),
        ("macro F1", f"{test['macro_f1']:.3f}", "mean of the classes"),
        ("AUC", f"{test['auc']:.3f}", _auc_note(test)),
    ]
    if "quadratic_kappa" in test:
        tiles += [
            ("quadratic kappa", f"{test['quadratic_kappa']:.3f}", "ordinal agreement"),
            ("mean error", f"{test['mean_absolute_error']:.2f}", "grades"),
        ]
    return html.render("metric_tiles.html", tiles=tiles)


def over_seeds(checkpoint: Checkpoint) -> str:
    """Mean and standard deviation of the test accuracy over the seeds of the recipe; "" for a single seed."""
    accuracies = checkpoint.seed_accuracies
    if len(accuracies) < 2:
        return ""
    return f"; {len(accuracies)} seeds {np.mean(accuracies):.1%} ± {np.std(accuracies, ddof=1):.1%}"


def _auc_note(test: dict[str, Any]) -> str:
    if "auc_interval" not in test:
        return "as medmnist computes it"
    low, high = test["auc_interval"]
    return f"{low:.3f} to {high:.3f} (DeLong)"
