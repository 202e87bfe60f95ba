"""Run a model over many source images."""

import numpy as np
import torch
from torch import nn

from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.models.features import forward_with_features

BATCH = 256
BATCH_PIXELS = BATCH * 112**2  # of the inputs in a batch; larger inputs are run in smaller batches


@torch.inference_mode()
def predict(
    model: nn.Module, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits and features of source images. Other threads may use the model at the same time.

    Args:
        model: one of medvit's, in evaluation mode, on any device.
        images: source pixels, uint8 (N, s, s) or (N, s, s, 3).

    Returns:
        logits (N, C), and features (N, D), the input of the classifier; both float32.
    """
    assert not model.training, "dropout and batch statistics would change the logits"
    device = next(model.parameters()).device
    batch_size = max(1, min(batch_size, BATCH_PIXELS // preprocessing.size**2))
    all_logits, all_features = [], []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images[start : start + batch_size]).to(device)
        logits, features = forward_with_features(model, preprocessing(pixels))
        assert features is not None, "every model of medvit has a head named classifier"
        all_logits.append(logits.float().cpu().numpy())
        all_features.append(features.float().cpu().numpy())
    return np.concatenate(all_logits), np.concatenate(all_features)


def hardware(device: torch.device) -> str:
    """Return what a device is, for a card: the name of a GPU, or the number of CPU cores in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return "one CPU core" if threads == 1 else f"{threads} CPU cores"
