"""Libraries that take seconds to import, loaded at their first use.

    from medvit.slow_imports import scipy_stats

    scipy_stats.rankdata(values)  # imports scipy.stats here, not at the top of the module

The app serves its first page before it needs any of them. All are imported under one lock: two threads that
import parts of scikit-learn or transformers at once would find each other's partially initialised modules.
"""

import importlib
import importlib.abc
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_lock = threading.RLock()


class _SlowModule(ModuleType):
    """A stand-in for a module that imports it when an attribute is first used."""

    def __getattr__(self, attribute: str) -> Any:
        with _lock:
            return getattr(importlib.import_module(self.__name__), attribute)


def slow_module(name: str) -> Any:
    """Return a stand-in for a module, which is imported when one of its attributes is needed."""
    return _SlowModule(name)


pytorch_grad_cam = slow_module("pytorch_grad_cam")
pytorch_grad_cam_road = slow_module("pytorch_grad_cam.metrics.road")
pytorch_grad_cam_targets = slow_module("pytorch_grad_cam.utils.model_targets")
huggingface_hub = slow_module("huggingface_hub")
matplotlib = slow_module("matplotlib")
datasets = slow_module("datasets")
imagehash = slow_module("imagehash")
peft = slow_module("peft")
pydicom = slow_module("pydicom")
pydicom_config = slow_module("pydicom.config")
pydicom_encaps = slow_module("pydicom.encaps")
pydicom_filereader = slow_module("pydicom.filereader")
pydicom_pixels = slow_module("pydicom.pixels")
safetensors_torch = slow_module("safetensors.torch")
scipy_optimize = slow_module("scipy.optimize")
scipy_special = slow_module("scipy.special")
scipy_stats = slow_module("scipy.stats")
skimage_data = slow_module("skimage.data")
sklearn_covariance = slow_module("sklearn.covariance")
sklearn_datasets = slow_module("sklearn.datasets")
sklearn_decomposition = slow_module("sklearn.decomposition")
sklearn_manifold = slow_module("sklearn.manifold")
sklearn_metrics = slow_module("sklearn.metrics")
sklearn_model_selection = slow_module("sklearn.model_selection")
timm = slow_module("timm")
transformers = slow_module("transformers")

NEEDED_BY_APP = ("transformers.models.auto.modeling_auto", "scipy.stats", "sklearn.metrics")


def import_slow_libraries() -> None:
    """Import what every answer needs; other threads that call this wait until it is done."""
    with _lock:
        for name in NEEDED_BY_APP:
            importlib.import_module(name)


def after_import(name: str, action: Callable[[], object]) -> None:
    """Call `action` once the module `name` has been imported, by whoever imports it; now if it is there."""
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _AfterImport(name, action))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds one module as Python does, and calls `action` at the end of its execution."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self.name, self.action = name, action

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            self.action()

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec
