"""Can a map be believed? Erase what it marks and see whether the answer follows; shuffle the weights and see
whether the map does.

Deletion and insertion: Petsiuk, Das and Saenko: RISE (BMVC 2018). ROAD: Rong et al. (ICML 2022), through
pytorch-grad-cam. Model randomisation: Adebayo et al.: Sanity Checks for Saliency Maps (NeurIPS 2018).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvit.explain.explainer import Explainer, ForwardPass, MapOptions
from medvit.explain.occlusion import erase

STEPS = 24
RANDOM_ORDERS = 4
HARDLY_CHANGED = 0.5  # rank correlation above which a map is said not to depend on the weights


@dataclass(frozen=True)
class Curves:
    """The probability of a class while its image is blurred patch by patch, or comes out of the blur.

    `share` (S,): of the patches, 0 to 1. `deletion`: the most marked patches are blurred first; a good map
    falls fast. `insertion`: they come back first; a good map rises fast. `random_deletion`,
    `random_insertion`: the mean of random orders, beside which alone the others mean something.
    """

    share: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    def areas(self) -> dict[str, float]:
        """The area under each curve, 0 to 1."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        return {name: float(np.trapezoid(getattr(self, name), self.share)) for name in names}


def curves(
    explainer: Explainer,
    seen: ForwardPass,
    maps: list[np.ndarray],
    target: int,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    seed: int = 0,
) -> list[Curves]:
    """Deletion and insertion curves of several maps (h, w) of one image, all in one batch."""
    cells = seen.grid[0] * seen.grid[1]
    cuts = torch.linspace(0, cells, min(steps, cells) + 1).round()  # patches gone at each step
    generator = torch.Generator().manual_seed(seed)
    orders = [ranks(values, seen.grid) for values in maps]
    orders += [torch.randperm(cells, generator=generator) for _ in range(random_orders)]
    deleted = torch.stack(orders)[:, None] < cuts[:, None]  # (orders, S, cells)
    inserted = torch.stack(orders[: len(maps)])[:, None] >= cuts[:, None]
    erased = torch.cat([deleted, inserted]).flatten(0, 1)  # (all, cells)
    answers = explainer.ask(erase(seen.pixels, seen.to_grid(erased)))[:, target]
    by_order = answers.view(-1, len(cuts)).numpy()
    chance = by_order[len(maps) : len(orders)].mean(0)
    share = (cuts / cells).numpy()
    # To insert in a random order is to delete in the reverse one, which is as random.
    return [
        Curves(share, by_order[i], by_order[len(orders) + i], chance, chance[::-1]) for i in range(len(maps))
    ]


def ranks(values: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """The place of each cell of a grid when a map (h, w) is read from its highest value down, (gh * gw,)."""
    enlarged = F.interpolate(torch.from_numpy(values)[None, None], grid, mode="bilinear", antialias=True)
    return enlarged.flatten().argsort(descending=True, stable=True).argsort()


class _Probabilities(nn.Module):
    """The library wants a module from images in 0..1 to scores."""

    def __init__(self, explainer: Explainer):
        super().__init__()
        self.explainer = explainer

    def forward(self, images: Tensor) -> Tensor:
        return self.explainer.ask(images * 255)


def road(
    explainer: Explainer, seen: ForwardPass, values: np.ndarray, target: int, percentiles=(20, 40, 60, 80)
) -> float:
    """ROAD: what the class loses when the most marked pixels are imputed, against the least marked ones.

    Returns:
        Half the difference of the two probabilities, the mean over the percentiles; 0 is a map without
        meaning.
    """
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    smooth = F.interpolate(torch.from_numpy(values)[None, None], seen.pixels.shape[-2:], mode="bicubic")[0]
    with torch.random.fork_rng(devices=[]):  # the library adds a little noise
        torch.manual_seed(0)
        scores = ROADCombined(list(percentiles))(
            seen.pixels.float() / 255,
            smooth.numpy(),
            [ClassifierOutputTarget(target)],
            _Probabilities(explainer),
        )
    return float(scores[0])


def shuffled(explainer: Explainer, seed: int = 0) -> Explainer:
    """The same model with the entries of every weight tensor in random order: all it has learned is gone."""
    model = copy.deepcopy(explainer.original)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return Explainer(model, explainer.prepare, explainer.open_picture)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two maps; 0 where one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def measure(
    explainer: Explainer, images: Tensor, methods: dict[str, Callable]
) -> dict[str, dict[str, float]]:
    """How far each kind of map can be believed for a model, over images (N, 3, H, W) in 0..255.

    Each map is that of the class on top, of the last layer and all heads.

    Args:
        methods: name to the function that draws the map, as in `explain.METHODS`.

    Returns:
        For each method the means over the images of: the areas of `Curves`, `road`, and `shuffled`, the rank
        correlation with the same map of the model with shuffled weights. Beside them `gain`, insertion less
        deletion over that of random orders (0 is chance), and `gain_error`, the standard error of its mean.
    """
    stranger = shuffled(explainer)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for i, pixels in enumerate(images.split(1)):
        seen, strange = explainer(pixels, target=-1), stranger(pixels)
        choice = MapOptions(int(seen.logits.argmax()))
        maps = [draw(explainer, seen, choice).float().numpy() for draw in methods.values()]
        every = curves(explainer, seen, maps, choice.target, seed=i)
        for (name, draw), values, found in zip(methods.items(), maps, every, strict=True):
            areas = found.areas()
            chance = areas["random_insertion"] - areas["random_deletion"]
            rows[name].append(
                areas
                | {
                    "gain": areas["insertion"] - areas["deletion"] - chance,
                    "road": road(explainer, seen, values, choice.target),
                    "shuffled": rank_correlation(values, draw(stranger, strange, choice).float().numpy()),
                }
            )
    return {name: _means(figures) for name, figures in rows.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    gains = [row["gain"] for row in rows]
    means["gain_error"] = float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else float("nan")
    return {key: round(value, 4) for key, value in means.items()}
