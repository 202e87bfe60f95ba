"""Heatmaps of a study: each is computed once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medvit.checkpoint import DEFAULT_ROOT
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import predictor
from medvit.reader_study.heatmaps import HeatmapCache


@pytest.fixture(scope="module")
def model():
    return predictor.load("breastmnist", "cnn", DEFAULT_ROOT)


def test_threads_share_one_map_and_the_oldest_is_dropped(model):
    cache, sources = HeatmapCache(capacity=2), [synthetic.draw("breastmnist", i) for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda _: cache.get(model, "grad_cam", sources[0]), range(4)))
    assert all(each is maps[0] for each in maps)
    assert np.abs(maps[0]).max() <= 1
    for source in sources[1:]:
        cache.get(model, "grad_cam", source)
    assert cache.get(model, "grad_cam", sources[0]) is not maps[0]


def test_a_map_that_the_model_lacks_is_refused_each_time(model):
    cache, source = HeatmapCache(), synthetic.draw("breastmnist", 0)
    for _ in range(2):
        with pytest.raises(MedvitError):
            cache.get(model, "rollout", source)


def test_the_most_faithful_map_is_one_that_the_model_has(model):
    assert model.explainer.best_method() in model.methods()
