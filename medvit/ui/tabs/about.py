"""The About tab: how a model was made, and its limitations."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medvit import limits, plots
from medvit.inference.registry import Registry
from medvit.ui.html import panel_title, render
from medvit.ui.server.responses import hide_folders
from medvit.ui.state import Values, require_state

LIMITATIONS = (
    "A notice appears where a picture is out of distribution, but that check is a model as well and can be "
    "wrong.",
    "A heatmap is an estimate of which patches influenced the answer, for some models and maps no better "
    "than chance; it does not show why.",
)
SOURCES = (
    "MedMNIST v2 (Yang et al., Scientific Data 2023) · ViT (Dosovitskiy et al., 2021) · Shifted Patch "
    "Tokenization and Locality Self-Attention (Lee, Lee and Song, 2021) · ResNet (He et al., 2016) · "
    "attention rollout (Abnar and Zuidema, 2020) · Grad-CAM (Selvaraju et al., 2017). The fine-tuned models "
    "start from WinKawaks/vit-tiny-patch16-224 (Apache-2.0), pretrained on ImageNet."
)


@dataclass(frozen=True, eq=False)
class About:
    """The components of the tab."""

    registry: Registry
    selection: gr.State
    card: gr.HTML
    training: gr.Column
    curve: gr.Plot
    limitations: gr.HTML

    @property
    def inputs(self) -> set[Any]:
        """What `update` reads."""
        return {self.selection}

    @property
    def outputs(self) -> set[Any]:
        """What `update` changes."""
        return {self.card, self.training, self.curve, self.limitations}

    def update(self, values: Values) -> Values:
        """Display the selected model."""
        predictor = self.registry.predictor(*require_state(values[self.selection]).checkpoint)
        card = predictor.model_card()
        paragraphs = [
            text for text in (card.seeds, card.calibration, card.prediction_sets, card.data) if text
        ]
        history = predictor.checkpoint.card.get("history")
        limitations = [*card.limitations, *(LIMITATIONS if history else LIMITATIONS[-1:])]
        return {
            self.card: render("model_card.html", card=card, paragraphs=paragraphs),
            self.training: gr.Column(visible=bool(history)),
            self.curve: plots.learning_curve(history) if history else None,
            self.limitations: render("list.html", title="Limitations", items=limitations),
        }


def build(registry: Registry, selection: gr.State) -> About:
    """Lay out the tab.

    Args:
        selection: the state that holds the `Selection` of the pickers.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            card = gr.HTML(elem_id="model-card")
        with gr.Column(scale=5, min_width=320):
            with gr.Column() as training:
                gr.HTML(panel_title("Learning curve"))
                curve = gr.Plot(show_label=False, container=False)
            limitations = gr.HTML()
    if registry.problems:
        reasons = [hide_folders(reason) for reason in registry.problems.values()]
        gr.HTML(render("list.html", title="Checkpoints left out", items=reasons))
    gr.HTML(render("list.html", title="Uploads and sources", items=[limits.describe(), SOURCES]))
    return About(registry, selection, card, training, curve, limitations)
