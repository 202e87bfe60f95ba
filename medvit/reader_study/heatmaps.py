"""Heatmaps of the model's answers, each computed once and kept in memory."""

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np

from medvit import explain
from medvit.explain import MapOptions
from medvit.inference.predictor import Predictor

CAPACITY = 2000  # maps, some hundred floats each


class HeatmapCache:
    """Heatmaps by model, method and image. Thread-safe: a second caller waits for the first one's map."""

    def __init__(self, capacity: int = CAPACITY):
        self._capacity = capacity
        self._maps: OrderedDict[tuple[str, str, bytes], Future] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, predictor: Predictor, method: str, source: np.ndarray) -> np.ndarray:
        """The map (gh, gw) of the predicted class of source pixels, uint8 (s, s, 3), scaled to -1..1.

        Raises:
            MedvitError: the model has no such map.
        """
        key = predictor.checkpoint.card["sha256"], method, hashlib.sha256(source.tobytes()).digest()
        with self._lock:
            future = self._maps.get(key)
            first = future is None
            if future is None:
                future = self._maps[key] = Future()
            self._maps.move_to_end(key)
            if len(self._maps) > self._capacity:
                self._maps.popitem(last=False)
        if first:
            try:
                future.set_result(_compute(predictor, method, source))
            except BaseException as error:
                with self._lock:
                    self._maps.pop(key, None)
                future.set_exception(error)
        return future.result()


def _compute(predictor: Predictor, method: str, source: np.ndarray) -> np.ndarray:
    prediction = predictor.predict(source)
    values = predictor.heatmap(prediction, method, MapOptions(prediction.top))
    return explain.scale(values, explain.METHODS[method].signed)
