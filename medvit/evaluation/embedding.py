"""Embeddings: the features that a model's classifier takes, and their t-SNE in the plane."""

import numpy as np

from medvit.slow_imports import sklearn_decomposition, sklearn_manifold

MIN_IMAGES = 5  # fewer have no meaningful t-SNE


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (..., D) to length one, so that their dot products are cosines."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def tsne(features: np.ndarray) -> np.ndarray:
    """Place images in the plane so that images with similar features lie together.

    t-SNE (van der Maaten and Hinton, 2008) of the features at length one, after a PCA to 50 dimensions.
    Neighbourhoods are meaningful; distances between far groups, and the sizes of groups, are not.

    Args:
        features: (N, D).

    Returns:
        float16 (N, 2), centred, within -1..1; deterministic.
    """
    count = len(features)
    if count < MIN_IMAGES:
        return np.zeros((count, 2), np.float16)
    pca = sklearn_decomposition.PCA(min(50, *features.shape), random_state=0)
    model = sklearn_manifold.TSNE(
        perplexity=min(30, (count - 1) / 3), init="pca", max_iter=500, random_state=0, n_jobs=1
    )
    plane = model.fit_transform(pca.fit_transform(unit(features)))
    plane -= (plane.max(0) + plane.min(0)) / 2
    return (plane / np.abs(plane).max()).astype(np.float16)
