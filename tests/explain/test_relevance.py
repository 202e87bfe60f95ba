import numpy as np
import torch

from medvit.explain.relevance import propagate


def test_relevance_follows_the_published_rule():
    generator = torch.Generator().manual_seed(0)
    attentions, gradients = torch.randn(2, 3, 2, 5, 5, generator=generator)
    expected = np.eye(5)
    for weights, gradient in zip(attentions.double().numpy(), gradients.double().numpy(), strict=True):
        expected = expected + np.maximum(weights * gradient, 0).mean(0) @ expected
    expected -= np.eye(5)
    np.testing.assert_allclose(propagate(attentions, gradients).numpy(), expected[0], atol=1e-5)
    start = torch.full((5,), 0.2)
    np.testing.assert_allclose(propagate(attentions, gradients, start).numpy(), expected.mean(0), atol=1e-5)
