"""The documented endpoints for programs: /predict, /explain and /confusion_matrix.

Their docstrings are the documentation: of each, Gradio's page of the API shows what stands before the
arguments.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from medvit.errors import MedvitError
from medvit.evaluation.metrics import confusion
from medvit.inference.registry import Registry
from medvit.ui import parts


def build(registry: Registry, ask: Callable[..., dict[str, Any]]) -> None:
    """Add the endpoints to the Blocks being built; they have no visible components.

    Args:
        ask: `medvit.answers.answer` without the store.
    """

    @parts.show_user_errors
    def predict(subset: str, model: str, image: str) -> dict[str, Any]:
        """Classify one image.

        Answers with label; probabilities {class: p}; calibrated {class: p}, right as often as they say;
        prediction_set {level, classes}: the classes that hold the truth in that share of images like the
        test images; in_distribution {score, threshold, accepted}: whether the image looks like the subset at
        all; subset; model. Where a model lacks what it takes, null. Research demo, not for diagnosis.

        Args:
            subset: name of a subset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".
            image: a picture file: PNG, JPEG, WebP, BMP, GIF or TIFF. Over MCP its data: URL, of up to 4 MB.
        """
        return ask("predict", subset, model, image)

    @parts.show_user_errors
    def explain(
        subset: str,
        model: str,
        image: str,
        method: str = "attention",
        layer: int = -1,
        head: int | None = None,
        target: str = "",
    ) -> dict[str, Any]:
        """Where a model looks in one image.

        Answers with label, subset, model, method, target; map, a list of rows with one value a patch, as the
        method gives them; description, where the mass of the map lies; overlay, a PNG as a data URL. Methods:
        attention, rollout, gradient_rollout, relevance, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam,
        occlusion; a CNN has the last five. Research demo, not for diagnosis.

        Args:
            subset: name of a subset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".
            image: a picture file: PNG, JPEG, WebP, BMP, GIF or TIFF. Over MCP its data: URL, of up to 4 MB.
            method: one of those above.
            layer: for attention; 0 is the first, -1 the last.
            head: for attention; 0 is the first, none the mean of all.
            target: name of the class to explain; empty for the one that the model says.
        """
        return ask("explain", subset, model, image, method, layer, head, target)

    @parts.show_user_errors
    def confusion_matrix(subset: str, model: str) -> dict[str, Any]:
        """The confusion matrix of a checkpoint on the official test split.

        Answers with labels, and matrix, a list of rows of counts; rows are the truth.

        Args:
            subset: name of a subset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".
        """
        found = registry.checkpoint(subset, model)
        if found.subset.multi_label:
            raise MedvitError(f"{found.subset.title} is multi-label and has no confusion matrix.")
        matrix = confusion(found.test_logits, found.test_labels)
        return {"labels": list(found.subset.classes), "matrix": matrix.tolist()}

    with gr.Row(visible=False):
        subset, model = gr.Textbox(label="subset"), gr.Textbox(label="model")
        image = parts.picture_input(label="image")
        method = gr.Textbox("attention", label="method")
        layer, head = gr.Number(-1, precision=0, label="layer"), gr.Number(None, precision=0, label="head")
        target = gr.Textbox("", label="target")
        result = gr.JSON(label="result")
        gr.Button().click(predict, [subset, model, image], result, api_name="predict", concurrency_id="model")
        gr.Button().click(
            explain,
            [subset, model, image, method, layer, head, target],
            result,
            api_name="explain",
            concurrency_id="model",
        )
        gr.Button().click(confusion_matrix, [subset, model], result, api_name="confusion_matrix")
