"""The documented endpoints for programs: /predict, /explain and /confusion_matrix.

Their docstrings are their documentation: Gradio's API page shows the text before the arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit.errors import MedvitError
from medvit.evaluation.metrics import confusion
from medvit.inference.registry import Registry
from medvit.ui.components.upload import picture_input
from medvit.ui.state import show_user_errors


@dataclass(frozen=True, eq=False)
class Endpoints:
    """The functions behind the endpoints; `call` is `medvit.inference.service.call` without the registry."""

    registry: Registry
    call: Callable[..., dict[str, Any]]

    @show_user_errors
    def predict(self, subset: str, model: str, image: str) -> dict[str, Any]:
        """Classify one image.

        Returns label; probabilities {class: p}; calibrated {class: p}, temperature-scaled probabilities, the
        same where validation is too small to calibrate;
        prediction_set {level, classes}: a set that contains the true class for a fraction `level` of images
        like those of validation; in_distribution {score, threshold, accepted}: the out-of-distribution check;
        subset; model. Null where a checkpoint lacks the statistics. Research demo, not for diagnosis.

        Args:
            subset: name of a dataset, such as "bloodmnist"; "your_models" for models opened by --model.
            model: name of a model, such as "spt_lsa", or as the screens list it.
            image: a picture file: PNG, JPEG, WebP, BMP, GIF or TIFF. Over MCP its data: URL, up to 4 MB.
        """
        return self.call("predict", subset, model, image)

    @show_user_errors
    def explain(
        self,
        subset: str,
        model: str,
        image: str,
        method: str = "attention",
        layer: int | None = -1,
        head: int | None = None,
        target: str = "",
    ) -> dict[str, Any]:
        """Where a model looks in one image.

        Returns label, subset, model, method, target; map, a list of rows with one value per patch, not
        scaled; description, where the mass of the map lies; overlay, a PNG as a data URL. Methods:
        attention, rollout, gradient_rollout, relevance, grad_cam, grad_cam_plus_plus, hires_cam, layer_cam,
        occlusion, token_occlusion; a CNN has the CAMs and occlusion. Research demo, not for diagnosis.

        Args:
            subset: name of a dataset, such as "bloodmnist"; "your_models" for models opened by --model.
            model: name of a model, such as "spt_lsa", or as the screens list it.
            image: a picture file: PNG, JPEG, WebP, BMP, GIF or TIFF. Over MCP its data: URL, up to 4 MB.
            method: one of those above.
            layer: for attention; 0 is the first, -1 the last.
            head: for attention; 0 is the first, none the mean of all.
            target: name of the class to explain; empty for the predicted class.
        """
        return self.call("explain", subset, model, image, method, layer, head, target)

    @show_user_errors
    def confusion_matrix(self, subset: str, model: str) -> dict[str, Any]:
        """The confusion matrix of a checkpoint on the test split.

        Returns labels, and matrix, a list of rows of counts; rows are the true class. A model that was not
        tested has none.

        Args:
            subset: name of a dataset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".
        """
        checkpoint = self.registry.checkpoint(subset, model)
        if checkpoint.dataset.multi_label:
            raise MedvitError(f"{checkpoint.dataset.title} is multi-label and has no confusion matrix.")
        if not len(checkpoint.test_labels):
            raise MedvitError(f"{checkpoint.title} was not tested here and has no confusion matrix.")
        matrix = confusion(checkpoint.test_logits, checkpoint.test_labels)
        return {"labels": list(checkpoint.dataset.classes), "matrix": matrix.tolist()}


def build(endpoints: Endpoints) -> None:
    """Add the endpoints to the Blocks being built; they have no visible components."""
    with gr.Row(visible=False):
        subset, model = gr.Textbox(label="subset"), gr.Textbox(label="model")
        image = picture_input(label="image")
        method = gr.Textbox("attention", label="method")
        layer, head = gr.Number(-1, precision=0, label="layer"), gr.Number(None, precision=0, label="head")
        target = gr.Textbox("", label="target")
        result = gr.JSON(label="result")
        gr.Button().click(
            endpoints.predict, [subset, model, image], result, api_name="predict", concurrency_id="model"
        )
        gr.Button().click(
            endpoints.explain,
            [subset, model, image, method, layer, head, target],
            result,
            api_name="explain",
            concurrency_id="model",
        )
        gr.Button().click(endpoints.confusion_matrix, [subset, model], result, api_name="confusion_matrix")
