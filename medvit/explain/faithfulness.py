"""Is a map faithful to the model? Mask what it marks, and randomise the weights of the model.

Deletion and insertion: Petsiuk, Das and Saenko: RISE (BMVC 2018). ROAD: Rong et al. (ICML 2022), through
pytorch-grad-cam. Model-parameter randomisation: Adebayo et al.: Sanity Checks for Saliency Maps (NeurIPS
2018).
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.explain.explainer import Explainer
from medvit.explain.forward_pass import ForwardPass, MapOptions
from medvit.explain.occlusion import mask_cells
from medvit.slow_imports import pytorch_grad_cam_road, pytorch_grad_cam_targets, scipy_stats

STEPS = 24
RANDOM_ORDERS = 4
HARDLY_CHANGED = 0.5  # rank correlation above which a map hardly depends on the weights


@dataclass(frozen=True)
class Curves:
    """The probability of a class while its image is blurred patch by patch, or emerges from the blur.

    Attributes:
        fraction: (S,), of the patches, 0 to 1.
        deletion: the patches with the highest values are blurred first; a faithful map falls fast.
        insertion: they emerge first; a faithful map rises fast.
        random_deletion, random_insertion: the mean of random orders, the baseline of the others.
    """

    fraction: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    def areas(self) -> dict[str, float]:
        """The area under each curve, 0 to 1."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        return {name: float(np.trapezoid(getattr(self, name), self.fraction)) for name in names}


def insertion_deletion_curves(
    explainer: Explainer,
    forward_pass: ForwardPass,
    maps: list[np.ndarray],
    target: int,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    seed: int = 0,
) -> list[Curves]:
    """Deletion and insertion curves of several maps (h, w) of one image, computed in one batch."""
    cells = forward_pass.grid[0] * forward_pass.grid[1]
    counts = torch.linspace(0, cells, min(steps, cells) + 1).round()  # patches masked at each step
    generator = torch.Generator().manual_seed(seed)
    orders = [ranks(values, forward_pass.grid) for values in maps]
    orders += [torch.randperm(cells, generator=generator) for _ in range(random_orders)]
    deleted = torch.stack(orders)[:, None] < counts[:, None]  # (orders, S, cells)
    inserted = torch.stack(orders[: len(maps)])[:, None] >= counts[:, None]
    masked = forward_pass.to_grid(torch.cat([deleted, inserted]).flatten(0, 1))  # (all, gh, gw)
    probs = explainer.predict(mask_cells(forward_pass.pixels, masked))[:, target]
    by_order = probs.view(-1, len(counts)).numpy()
    random = by_order[len(maps) : len(orders)].mean(0)
    fraction = (counts / cells).numpy()
    # Insertion in a random order is deletion in the reverse order, which is as random.
    return [
        Curves(fraction, by_order[i], by_order[len(orders) + i], random, random[::-1])
        for i in range(len(maps))
    ]


def ranks(values: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """The rank of each cell of a grid by the values of a map (h, w), 0 for the highest: (gh * gw,)."""
    resized = F.interpolate(torch.from_numpy(values)[None, None], grid, mode="bilinear", antialias=True)
    return resized.flatten().argsort(descending=True, stable=True).argsort()


class _Probabilities(nn.Module):
    """The explained model as pytorch-grad-cam needs it: images in 0..1 to scores."""

    def __init__(self, explainer: Explainer):
        super().__init__()
        self.explainer = explainer

    def forward(self, images: Tensor) -> Tensor:
        return self.explainer.predict(images * 255)


def road(explainer: Explainer, forward_pass: ForwardPass, values: np.ndarray, target: int) -> float:
    """ROAD: the probability lost when the highest-ranked pixels are imputed, against the lowest-ranked ones.

    Returns:
        Half the difference of the two probabilities, the mean over 20 to 80 % of them; 0 for a random map.
    """
    size = forward_pass.pixels.shape[-2:]
    smooth = F.interpolate(torch.from_numpy(values)[None, None], size, mode="bicubic")[0]
    with torch.random.fork_rng(devices=[]):  # the library adds a little noise
        torch.manual_seed(0)
        scores = pytorch_grad_cam_road.ROADCombined([20, 40, 60, 80])(
            forward_pass.pixels.float() / 255,
            smooth.numpy(),
            [pytorch_grad_cam_targets.ClassifierOutputTarget(target)],
            _Probabilities(explainer),
        )
    return float(scores[0])


def randomized_model(explainer: Explainer) -> Explainer:
    """The same architecture with the entries of each weight tensor permuted: nothing learned is left."""
    model = copy.deepcopy(explainer.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return explainer.of(model)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two maps; 0 where one of them is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(scipy_stats.spearmanr(first.ravel(), second.ravel()).statistic)


def measure(explainer: Explainer, images: Tensor, methods: Iterable[str]) -> dict[str, dict[str, float]]:
    """Measure how faithful each kind of map is to a model, over images (N, 3, H, W) in 0..255.

    Each map is that of the predicted class, of the last layer and all heads.

    Args:
        methods: names in `methods.METHODS`.

    Returns:
        For each method the means over the images of: the areas of `Curves`; `insertion_deletion_gain`,
        insertion less deletion over that of random orders (0 is chance), with `insertion_deletion_gain_se`,
        the standard error of its mean; `road`; and `randomization_similarity`, the rank correlation with the
        same map of the randomised model.
    """
    randomized = randomized_model(explainer)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for i, pixels in enumerate(images.split(1)):
        forward_pass, randomized_pass = explainer(pixels, target=-1), randomized(pixels)
        options = MapOptions(forward_pass.top)
        maps = [explainer.heatmap(forward_pass, name, options) for name in rows]
        curves = insertion_deletion_curves(explainer, forward_pass, maps, options.target, seed=i)
        for name, values, method_curves in zip(rows, maps, curves, strict=True):
            areas = method_curves.areas()
            random = areas["random_insertion"] - areas["random_deletion"]
            randomized_values = randomized.heatmap(randomized_pass, name, options)
            rows[name].append(
                areas
                | {
                    "insertion_deletion_gain": areas["insertion"] - areas["deletion"] - random,
                    "road": road(explainer, forward_pass, values, options.target),
                    "randomization_similarity": rank_correlation(values, randomized_values),
                }
            )
    return {name: _means(metrics) for name, metrics in rows.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    gains = [row["insertion_deletion_gain"] for row in rows]
    error = float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else float("nan")
    return {key: round(value, 4) for key, value in (means | {"insertion_deletion_gain_se": error}).items()}
