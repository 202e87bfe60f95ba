"""Run a model over many source images."""

import numpy as np
import torch
from torch import nn

from medvit.images import Preprocessing, to_tensor


@torch.inference_mode()
def predict_logits(
    model: nn.Module, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """Logits (N, C), float32, of source images, uint8 (N, s, s) or (N, s, s, 3), in evaluation mode."""
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    batches = []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images[start : start + batch_size]).to(device)
        batches.append(model(pixel_values=preprocessing(pixels)).logits.float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(batches)
