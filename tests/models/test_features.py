"""Features and logits of a forward pass, while other threads use the same model."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.evaluation.inference import predict
from medvit.imaging import to_tensor
from medvit.models.features import forward_with_features


@pytest.fixture
def pictures(synthetic_root):
    return medmnist.load_split("bloodmnist", "test", root=synthetic_root)[0]


@pytest.mark.parametrize("name", models.NAMES)
def test_the_classifier_turns_the_features_into_the_logits(name, backbone, pictures):
    model, preprocessing = models.build(name, medmnist.get("bloodmnist"), backbone=str(backbone))
    logits, vectors = predict(model.eval(), preprocessing, pictures, batch_size=5)
    assert vectors.shape == (len(pictures), model.classifier.in_features)
    weight, bias = model.classifier.weight.detach().numpy(), model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(vectors @ weight.T + bias, logits, atol=1e-4)


@pytest.mark.parametrize("name", models.NAMES)
def test_a_pass_of_another_thread_is_never_mixed_in(name, backbone, pictures):
    """Each thread asks about its own number of images, so that a mix would show in the shapes too."""
    torch.manual_seed(0)
    model, preprocessing = models.build(name, medmnist.get("bloodmnist"), backbone=str(backbone))
    parts = [pictures[start : start + 2 + start] for start in range(6)]
    alone = [predict(model.eval(), preprocessing, part) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        together = list(pool.map(lambda part: predict(model, preprocessing, part), parts * 5))
    for (logits, vectors), (own_logits, own_vectors) in zip(together, alone * 5, strict=True):
        np.testing.assert_allclose(logits, own_logits, atol=1e-5)
        np.testing.assert_allclose(vectors, own_vectors, atol=1e-5)


def test_a_pass_that_another_thread_makes_within_is_not_taken_for_ones_own(pictures):
    model, preprocessing = models.build("cnn", medmnist.get("bloodmnist"))
    pixels = preprocessing(to_tensor(pictures[:2]))
    with torch.no_grad(), ThreadPoolExecutor(1) as pool:
        _, expected = forward_with_features(model.eval(), pixels)

        def interrupt(*_):
            handle.remove()
            pool.submit(model, pixels.flip(0)).result(30)

        handle = model.classifier.register_forward_hook(interrupt)
        _, features = forward_with_features(model, pixels)
    torch.testing.assert_close(features, expected)


def test_no_hook_is_left_behind():
    model, _ = models.build("cnn", medmnist.get("bloodmnist"))
    forward_with_features(model, torch.zeros(2, 3, 28, 28))
    with pytest.raises(RuntimeError):
        forward_with_features(model, torch.zeros(2, 5, 28, 28))
    assert not model.classifier._forward_pre_hooks


def test_a_model_without_a_classifier_has_no_features():
    class Answers(torch.nn.Module):
        def forward(self, pixel_values):
            return SimpleNamespace(logits=pixel_values.mean((2, 3)))

    logits, features = forward_with_features(Answers(), torch.rand(2, 3, 4, 4))
    assert logits.shape == (2, 3)
    assert features is None
