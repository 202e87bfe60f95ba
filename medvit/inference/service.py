"""What a program may ask of the checkpoints, answered in plain types."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

from medvit import explain, models, plots
from medvit.errors import MedvitError
from medvit.inference.predictor import Predictor
from medvit.inference.registry import Registry

_importing = threading.Lock()


def import_slow_libraries() -> None:
    """Import what the first page does not wait for, while every other thread that calls this waits.

    Two threads that import parts of scikit-learn at once find each other's half-made modules.
    """
    with _importing:
        models.register()
        for library in ("scipy.stats", "sklearn.metrics"):
            importlib.import_module(library)


def answer(registry: Registry, question: str, *arguments: Any) -> dict[str, Any]:
    """The answer to one of QUESTIONS, ready for JSON.

    Raises:
        MedvitError: there is no such checkpoint, or the picture cannot be read, or the choice does not fit.
    """
    return ENDPOINTS[question](registry, *arguments)


def predict(registry: Registry, subset: str, model: str, image: str | None) -> dict[str, Any]:
    """What a model says of a picture file; see `medvit.predictor.Prediction.to_json`."""
    predictor, path = _asked(registry, subset, model, image)
    return predictor(path)


def explain_image(
    registry: Registry,
    subset: str,
    model: str,
    image: str | None,
    method: str,
    layer: int,
    head: int | None,
    target: str,
) -> dict[str, Any]:
    """Where a model looks in a picture file.

    Args:
        target: name of the class to explain; empty for the one that the model says.

    Returns:
        label, subset, model, method, target; map, rows of one float a patch; description; overlay, a PNG as
        a data URL.
    """
    predictor, path = _asked(registry, subset, model, image)
    prediction = predictor.predict(predictor.source(path))
    if target and target not in prediction.classes:
        raise MedvitError(f"There is no class {target!r}. There are: {'; '.join(prediction.classes)}.")
    chosen = prediction.classes.index(target) if target else prediction.top
    whole = None if head is None else int(head)
    values = predictor.heatmap(prediction, method, explain.MapOptions(chosen, int(layer), whole))
    shown = explain.scale(values, explain.METHODS[method].signed)
    return {
        "label": prediction.label,
        "subset": subset,
        "model": model,
        "method": method,
        "target": prediction.classes[chosen],
        "map": values.tolist(),
        "description": explain.describe(values),
        "overlay": plots.data_url(plots.overlay(prediction.source, shown)),
    }


def _asked(registry: Registry, subset: str, model: str, image: str | None) -> tuple[Predictor, str]:
    predictor = registry.predictor(subset, model)
    if image is None:
        raise MedvitError("There is no image. Send a picture file as `image`.")
    return predictor, image


ENDPOINTS: dict[str, Callable[..., dict[str, Any]]] = {"predict": predict, "explain": explain_image}
