"""Run a model over many source images."""

import numpy as np
import torch
from transformers import PreTrainedModel

from medvit.images import Preprocessing, to_tensor


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """Logits (N, C), float32, of source images, uint8 (N, s, s) or (N, s, s, 3), in evaluation mode."""
    was_training = model.training
    model.eval()
    batches = []
    for start in range(0, len(images), batch_size):
        pixels = to_tensor(images[start : start + batch_size]).to(model.device)
        batches.append(model(pixel_values=preprocessing(pixels)).logits.float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(batches)
