from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.evaluation.inference import predict


@pytest.fixture
def images(synthetic_root):
    return medmnist.load_split("bloodmnist", "test", root=synthetic_root)[0]


@pytest.mark.parametrize("name", models.NAMES)
def test_the_classifier_turns_the_features_into_the_logits(name, backbone, images):
    model, preprocessing = models.build(name, medmnist.get("bloodmnist"), backbone=str(backbone))
    logits, features = predict(model.eval(), preprocessing, images, batch_size=5)
    assert features.shape == (len(images), model.classifier.in_features)
    weight, bias = model.classifier.weight.detach().numpy(), model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(features @ weight.T + bias, logits, atol=1e-4)


@pytest.mark.parametrize("name", models.NAMES)
def test_threads_that_share_a_model_get_their_own_logits_and_features(name, backbone, images):
    """Each thread has its own number of images, so that a mix would show in the shapes too."""
    torch.manual_seed(0)
    model, preprocessing = models.build(name, medmnist.get("bloodmnist"), backbone=str(backbone))
    parts = [images[start : start + 2 + start] for start in range(6)]
    alone = [predict(model.eval(), preprocessing, part) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        together = list(pool.map(lambda part: predict(model, preprocessing, part), parts * 5))
    for results, expected in zip(together, alone * 5, strict=True):
        for values, values_alone in zip(results, expected, strict=True):
            np.testing.assert_allclose(values, values_alone, atol=1e-5)
