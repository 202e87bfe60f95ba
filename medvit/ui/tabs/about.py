"""The About tab: where a model comes from, how it learned, and what it is not."""

from collections.abc import Callable
from functools import lru_cache

import gradio as gr

from medvit import limits, plots
from medvit.inference.registry import Registry
from medvit.ui import parts

LIMITS = """
### Limits

- **Not for diagnosis.** The models saw 28-pixel thumbnails from single published collections. They are for
  learning how such models behave.
- They name one of the known classes for any picture, a holiday photograph included. Where a picture looks
  foreign, a notice says so; that check, too, is a model and can be wrong.
- The subsets carry no ages, sexes or origins, so nothing can be said about how a model fares on groups of
  people.
- PathMNIST's test split comes from another centre than its training split; the others come from one source.
- An attention map shows where weight went, not why. Treat it as a question to ask, not as an answer.

### Sources

MedMNIST v2 (Yang et al., Scientific Data 2023) · ViT (Dosovitskiy et al., 2021) · Shifted Patch Tokenization
and Locality Self-Attention (Lee, Lee and Song, 2021) · ResNet (He et al., 2016) · attention rollout (Abnar
and Zuidema, 2020) · Grad-CAM (Selvaraju et al., 2017). The fine-tuned models start from
WinKawaks/vit-tiny-patch16-224 (Apache-2.0), pretrained on ImageNet.
"""


def build(registry: Registry) -> tuple[Callable, list]:
    """Lay out the tab; return `fill(picked)` and the outputs to fill."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            card = gr.Markdown()
        with gr.Column(scale=5, min_width=320):
            gr.HTML("<div class='panel-title'>How it learned</div>")
            curve = gr.Plot(show_label=False, container=False)
    gr.Markdown(LIMITS)
    gr.Markdown(f"### Uploads\n\n{limits.describe()}")
    if registry.problems:
        gr.Markdown("### Left out\n\n" + "\n".join(f"- {reason}" for reason in registry.problems.values()))

    @parts.show_user_errors
    @lru_cache(128)
    def fill(picked):
        if picked is None:
            return gr.skip()  # the page is being loaded
        found = registry.checkpoint(*picked)
        return parts.model_card(found), plots.learning_curve(found.card["history"])

    return fill, [card, curve]
