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
    """Stands for a module and imports it when an attribute is first asked for."""

    def __getattr__(self, attribute: str) -> Any:
        with _lock:
            return getattr(importlib.import_module(self.__name__), attribute)


def _slow(name: str) -> Any:
    return _SlowModule(name)


pytorch_grad_cam = _slow("pytorch_grad_cam")
pytorch_grad_cam_road = _slow("pytorch_grad_cam.metrics.road")
pytorch_grad_cam_targets = _slow("pytorch_grad_cam.utils.model_targets")
matplotlib = _slow("matplotlib")
peft = _slow("peft")
pydicom = _slow("pydicom")
pydicom_config = _slow("pydicom.config")
pydicom_encaps = _slow("pydicom.encaps")
pydicom_filereader = _slow("pydicom.filereader")
pydicom_pixels = _slow("pydicom.pixels")
scipy_optimize = _slow("scipy.optimize")
scipy_special = _slow("scipy.special")
scipy_stats = _slow("scipy.stats")
skimage_data = _slow("skimage.data")
sklearn_covariance = _slow("sklearn.covariance")
sklearn_datasets = _slow("sklearn.datasets")
sklearn_decomposition = _slow("sklearn.decomposition")
sklearn_manifold = _slow("sklearn.manifold")
sklearn_metrics = _slow("sklearn.metrics")
sklearn_model_selection = _slow("sklearn.model_selection")
timm_data = _slow("timm.data")
transformers = _slow("transformers")

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
