"""Small attention maps of all heads of a layer, and of all layers."""

from collections.abc import Sequence

from medvit import explain, plots
from medvit.explain import MapOptions
from medvit.inference.predictor import Prediction, Predictor
from medvit.ui.components import thumbnail_strip


def layers_and_heads(prediction: Prediction) -> tuple[int, int]:
    """Number of layers and of heads; (1, 1) for a model without attention."""
    attentions = prediction.forward_pass.attentions
    return (1, 1) if attentions is None else (attentions.shape[0], attentions.shape[1])


def render(predictor: Predictor, prediction: Prediction, options: MapOptions) -> tuple[str, str]:
    """All heads of the layer, and all layers, as small maps; "" for a model without attention."""
    if prediction.forward_pass.attentions is None:
        return "", ""
    depth, width = layers_and_heads(prediction)

    def attention(layer: int, head: int | None):
        small = MapOptions(0, layer=layer, head=head, patch=options.patch)
        return explain.scale(predictor.heatmap(prediction, "attention", small))

    def strip(name: str, heatmaps: Sequence, selected: int | None) -> str:
        descriptions = [
            f"Attention, {name} {i}. {explain.describe(heatmap)}" for i, heatmap in enumerate(heatmaps, 1)
        ]
        pictures = [plots.apply_colormap(heatmap) for heatmap in heatmaps]
        return thumbnail_strip.render(
            f"Attention of each {name}; click one to enlarge it", pictures, descriptions, selected
        )

    heads = strip(
        f"head of layer {options.layer + 1}",
        [attention(options.layer, i) for i in range(width)],
        options.head,
    )
    return heads, strip("layer", [attention(i, options.head) for i in range(depth)], options.layer)
