"""Saliency maps of any image classifier, and how faithful they are to it.

One method a file: a function of an `Explainer`, a `ForwardPass` and `MapOptions` that gives one value a
    patch.

    explainer = Explainer("google/vit-base-patch16-224")
    result = explainer("cat.png")
    result.overlay("relevance", target=281).save("why.png")
"""

from medvit.explain import faithfulness
from medvit.explain.display import describe, scale
from medvit.explain.explainer import Explainer
from medvit.explain.forward_pass import ForwardPass, Gradients, MapOptions
from medvit.explain.methods import METHODS, Method

__all__ = [
    "METHODS",
    "Explainer",
    "ForwardPass",
    "Gradients",
    "MapOptions",
    "Method",
    "describe",
    "faithfulness",
    "scale",
]
