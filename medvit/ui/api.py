"""The documented endpoints for programs: /predict and /confusion_matrix."""

from typing import Any

import gradio as gr

from medvit.errors import MedvitError
from medvit.evaluation.metrics import confusion
from medvit.ui import parts
from medvit.ui.store import Store


def build(store: Store) -> None:
    """Add the endpoints to the Blocks being built; they have no visible components."""

    @parts.plain_errors
    def predict(subset: str, model: str, image: str) -> dict[str, Any]:
        """Classify one image.

        Args:
            subset: name of a subset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".
            image: a picture file of any size; PNG, JPEG, WebP, BMP, GIF or TIFF.

        Returns:
            label; probabilities {class: p}; calibrated {class: p}, right as often as they say; prediction_set
            {level, classes}: the classes that hold the truth in that share of images like the test images;
            in_distribution {score, threshold, accepted}: whether the image looks like the subset at all;
            subset; model. Where a model lacks what it takes, null. Research demo, not for diagnosis.
        """
        predictor = store.predictor(subset, model)
        if image is None:
            raise MedvitError("There is no image. Send a picture file as `image`.")
        return predictor(image)

    @parts.plain_errors
    def confusion_matrix(subset: str, model: str) -> dict[str, Any]:
        """The confusion matrix of a checkpoint on the official test split.

        Args:
            subset: name of a subset, such as "bloodmnist".
            model: name of a model, such as "spt_lsa".

        Returns:
            labels, and matrix, a list of rows of counts; rows are the truth.
        """
        found = store.checkpoint(subset, model)
        if found.subset.multi_label:
            raise MedvitError(f"{found.subset.title} is multi-label and has no confusion matrix.")
        matrix = confusion(found.test_logits, found.test_labels)
        return {"labels": list(found.subset.classes), "matrix": matrix.tolist()}

    with gr.Row(visible=False):
        subset, model = gr.Textbox(label="subset"), gr.Textbox(label="model")
        image = parts.picture_input(label="image")
        result = gr.JSON(label="result")
        gr.Button().click(predict, [subset, model, image], result, api_name="predict", concurrency_id="model")
        gr.Button().click(confusion_matrix, [subset, model], result, api_name="confusion_matrix")
