import numpy as np
import pytest
import torch

from medvit.explain.rollout import attention_flow, fuse_heads


@pytest.mark.parametrize("head_fusion", ["mean", "max", "min"])
def test_rollout_is_the_product_of_renormalised_layers(head_fusion):
    attentions = torch.rand(4, 3, 10, 10, generator=torch.Generator().manual_seed(0)).softmax(-1)
    flow = np.eye(10)
    for layer in attentions.double().numpy():
        mixed = getattr(layer, head_fusion)(0) + np.eye(10)
        flow = (mixed / mixed.sum(1, keepdims=True)) @ flow
    fused = fuse_heads(attentions, head_fusion)
    np.testing.assert_allclose(attention_flow(fused).numpy(), flow[0], atol=1e-6)
    start = torch.full((10,), 0.1)
    np.testing.assert_allclose(attention_flow(fused, start=start).numpy(), flow.mean(0), atol=1e-6)


def test_rollout_discards_the_weakest_attention():
    layers = torch.tensor([[[0.1, 0.9], [0.6, 0.4]]])
    kept = torch.tensor([1.0, 0.9])  # of the first token: 0.1 is discarded and 1 added for the residual path
    torch.testing.assert_close(attention_flow(layers, discard_ratio=0.5), kept / kept.sum())


def test_never_more_is_discarded_than_the_ratio():
    ties = torch.full((1, 4, 4), 0.25)
    torch.testing.assert_close(attention_flow(ties, discard_ratio=0.5), attention_flow(ties))
    ties[0, 0, 1] = 0.1
    kept = torch.tensor([1.25, 0, 0.25, 0.25])
    torch.testing.assert_close(attention_flow(ties, discard_ratio=0.5), kept / kept.sum())
    torch.testing.assert_close(attention_flow(ties, discard_ratio=0.05), attention_flow(ties))


def test_rollout_equals_the_public_code():
    """jacobgil/vit-explain with its normalisation mended; entry 0 is among those that are kept here too."""
    generator = torch.Generator().manual_seed(1)
    attentions = torch.rand(3, 1, 2, 6, 6, generator=generator)
    attentions[..., 0, 0] += 1  # the public code never discards this entry
    result = torch.eye(6)
    for attention in attentions:
        fused = attention.mean(1)
        flat = fused.view(1, -1)
        _, indices = flat.topk(int(flat.size(-1) * 0.6), -1, False)
        flat[0, indices[indices != 0]] = 0
        a = (fused + torch.eye(6)) / 2
        result = (a / a.sum(-1, keepdim=True)) @ result
    ours = attention_flow(fuse_heads(attentions[:, 0]), discard_ratio=0.6)
    torch.testing.assert_close(ours, result[0, 0])
