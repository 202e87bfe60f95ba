"""Run a model over many source images."""

import numpy as np
import torch
from torch import nn

from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.models.attention import read

BATCH = 256


@torch.inference_mode()
def predict(
    model: nn.Module, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features of source images. Safe while other threads use the model.

    Args:
        model: one of medvit's, in evaluation mode, on any device.
        images: source pixels, uint8 (N, s, s) or (N, s, s, 3).

    Returns:
        logits (N, C), and features (N, D), what the classifier was given; both float32.
    """
    assert not model.training, "dropout and batch statistics would have a say"
    device = next(model.parameters()).device
    logits, features = [], []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images[start : start + batch_size]).to(device)
        said, seen = read(model, preprocessing(pixels))
        assert seen is not None, "every model of medvit calls its head classifier"
        logits.append(said.float().cpu().numpy())
        features.append(seen.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)
