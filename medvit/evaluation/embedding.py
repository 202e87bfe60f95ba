"""Features, what a classifier was given of an image: their directions, and the map that they give of many."""

import numpy as np

FEWEST = 5  # images that can be laid out on a map


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
