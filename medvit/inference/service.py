"""The endpoints that need a model, with plain arguments and JSON-ready results."""

from collections.abc import Callable
from typing import Any

from medvit import explain, plots
from medvit.errors import MedvitError
from medvit.inference.explanations import check_method
from medvit.inference.predictor import Predictor
from medvit.inference.registry import Registry


def call(registry: Registry, endpoint: str, *arguments: Any) -> dict[str, Any]:
    """Run one of ENDPOINTS.

    Raises:
        MedvitError: there is no such checkpoint, the picture cannot be read, or an option does not fit.
    """
    return ENDPOINTS[endpoint](registry, *arguments)


def predict(registry: Registry, subset: str, model: str, image: str | None) -> dict[str, Any]:
    """Classify a picture file; see `Prediction.to_json` for the result."""
    predictor, path = _resolve(registry, subset, model, image)
    return predictor(path)


def explain_image(
    registry: Registry,
    subset: str,
    model: str,
    image: str | None,
    method: str,
    layer: int | None,
    head: int | None,
    target: str,
) -> dict[str, Any]:
    """Compute the saliency map of a picture file.

    Args:
        target: name of the class to explain; empty for the predicted class.

    Returns:
        label, subset, model, method, target; map, rows of one float per patch; description; overlay, a PNG as
        a data URL.
    """
    predictor, path = _resolve(registry, subset, model, image)
    prediction = predictor.predict(predictor.source(path))
    if target and target not in prediction.classes:
        raise MedvitError(f"There is no class {target!r}. There are: {'; '.join(prediction.classes)}.")
    target_index = prediction.classes.index(target) if target else prediction.top
    layer_index, head_index = -1 if layer is None else int(layer), None if head is None else int(head)
    method = check_method(predictor, method)
    heatmap = predictor.heatmap(prediction, method, explain.MapOptions(target_index, layer_index, head_index))
    scaled = explain.scale(heatmap, explain.METHODS[method].signed)
    return {
        "label": prediction.label,
        "subset": subset,
        "model": model,
        "method": method,
        "target": prediction.classes[target_index],
        "map": heatmap.tolist(),
        "description": explain.describe(heatmap),
        "overlay": plots.data_url(plots.overlay(prediction.source, scaled)),
    }


def _resolve(registry: Registry, subset: str, model: str, image: str | None) -> tuple[Predictor, str]:
    predictor = registry.predictor(subset, model)
    if image is None:
        raise MedvitError("There is no image. Send a picture file as `image`.")
    return predictor, image


ENDPOINTS: dict[str, Callable[..., dict[str, Any]]] = {"predict": predict, "explain": explain_image}
