"""What a model makes of an image before it names a class, and the map that this gives of many images."""

import threading

import numpy as np
from torch import Tensor, nn

from medvit.evaluation.predict import predict_logits
from medvit.images import Preprocessing

FEWEST = 5  # images that can be laid out on a map


def features_and_logits(
    model: nn.Module, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of source images in one pass.

    The features are what the classifier is given: the class token after the final norm of a ViT, the pooled
    feature map of a CNN. Safe while another thread uses the model.

    Args:
        images: source pixels, uint8 (N, s, s) or (N, s, s, 3).

    Returns:
        features (N, D) and logits (N, C), both float32.
    """
    seen: list[np.ndarray] = []
    caller = threading.get_ident()

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == caller:
            seen.append(inputs[0].detach().float().cpu().numpy())

    hook = model.classifier.register_forward_pre_hook(catch)  # type: ignore[union-attr, operator]
    try:
        logits = predict_logits(model, preprocessing, images, batch_size)
    finally:
        hook.remove()
    return np.concatenate(seen), logits


def features(
    model: nn.Module, preprocessing: Preprocessing, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """The features (N, D), float32, of source images; see `features_and_logits`."""
    return features_and_logits(model, preprocessing, images, batch_size)[0]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., D) at length one, so that their products are cosines."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def layout(vectors: np.ndarray) -> np.ndarray:
    """Place images on a plane so that those alike to the model lie together.

    t-SNE (van der Maaten and Hinton, 2008) of the features at length one, after a PCA to 50 dimensions.
    Neighbours mean something; distances between far groups, and their sizes, do not.

    Args:
        vectors: features (N, D).

    Returns:
        float16 (N, 2), centred, within -1..1; always the same for the same features.
    """
    count = len(vectors)
    if count < FEWEST:
        return np.zeros((count, 2), np.float16)
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduced = PCA(min(50, *vectors.shape), random_state=0).fit_transform(unit(vectors))
    perplexity = min(30, (count - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=0, n_jobs=1)
    plane = tsne.fit_transform(reduced)
    plane -= (plane.max(0) + plane.min(0)) / 2
    return (plane / np.abs(plane).max()).astype(np.float16)
