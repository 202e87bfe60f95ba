"""Token occlusion: drop patch tokens from the sequence of a transformer and measure what the class loses.

Where occlusion paints over the pixels of a patch, which the model then sees as another patch, a dropped token
is not there at all, and the pass costs less. Random subsets of the tokens: Petsiuk, Das and Saenko: RISE
(BMVC 2018), with tokens in place of masked pixels, and less the mean without the patch, so that zero means no
effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medvit.errors import MedvitError
from medvit.explain.forward_pass import ForwardPass, MapOptions
from medvit.explain.token_dropping import kept_tokens

if TYPE_CHECKING:
    from medvit.explain.explainer import Explainer

BATCH_SIZE = 64


def token_occlusion(explainer: Explainer, forward_pass: ForwardPass, options: MapOptions) -> Tensor:
    """The probability of the class that is lost without each patch token.

    With `options.token_subsets` = 0, from all the other tokens (leave-one-out, one pass for each patch).
    Otherwise from that many random subsets of half of the patch tokens: the mean probability of the subsets
    with the patch less that of the subsets without it. Half of the tokens cost half of the time.

    Returns:
        (gh, gw) in -1..1; negative where the patch is evidence against the class.

    Raises:
        MedvitError: fewer than two random subsets.
    """
    cells = forward_pass.grid[0] * forward_pass.grid[1]
    if options.token_subsets == 0:
        kept = ~torch.eye(cells, dtype=torch.bool)
        without = predict_kept(explainer, forward_pass, kept)[:, options.target]  # (cells,)
        return forward_pass.to_grid(explainer.probabilities(forward_pass.logits)[options.target] - without)
    if options.token_subsets < 2:
        raise MedvitError("token_subsets is 0, or a number of random subsets from 2.")
    kept = random_halves(cells, options.token_subsets)
    probs = predict_kept(explainer, forward_pass, kept)[:, options.target]  # (subsets,)
    return forward_pass.to_grid(_mean_where(probs, kept) - _mean_where(probs, ~kept))


def random_halves(cells: int, count: int) -> Tensor:
    """Random halves of the patches, bool (count, cells); every second one is what the one before leaves out.

    So each patch is kept in about as many subsets as it is dropped. Of an odd number of patches, all but one
    are split.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.rand((count + 1) // 2, cells, generator=generator).argsort(1)
    half = max(1, cells // 2)
    pairs = torch.stack([order < half, (order >= half) & (order < 2 * half)], 1)  # (pairs, 2, cells)
    return pairs.flatten(0, 1)[:count]


def predict_kept(explainer: Explainer, forward_pass: ForwardPass, kept: Tensor) -> Tensor:
    """Probabilities (N, classes) of one image without some of its patch tokens.

    Args:
        kept: bool (N, gh * gw), the patches that are kept in each of N passes; equally many in each.
    """
    structure = explainer.structure(size=forward_pass.input_size)
    block, first = structure.first_block, forward_pass.first_patch
    assert block is not None
    others = kept.new_ones(len(kept), structure.prefix)
    with_others = torch.cat([others[:, :first], kept, others[:, first:]], 1)
    indices = with_others.nonzero()[:, 1].view(len(kept), -1)  # (N, K)
    probs = []
    for batch in indices.split(BATCH_SIZE):
        with kept_tokens(block, batch):
            probs.append(explainer.predict(forward_pass.pixels))
    return torch.cat(probs)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values (N,) over the rows where each column of a mask (N, cells) is set; else over all."""
    count = mask.sum(0)
    mean = values @ mask.to(values) / count.clamp(min=1)
    return torch.where(count > 0, mean, values.mean())
