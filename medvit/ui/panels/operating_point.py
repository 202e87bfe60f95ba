"""Where to draw the line between two classes: a threshold, what it finds and what it costs."""

from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

from medvit import plots
from medvit.data import settings
from medvit.data.medmnist import short_name
from medvit.errors import MedvitError
from medvit.evaluation.metrics import probabilities
from medvit.inference.registry import Registry
from medvit.reliability import operating_point
from medvit.reliability.fit import Trust
from medvit.ui import parts


def build(registry: Registry, shown: gr.State) -> tuple[Callable, list]:
    """Lay out the panel, hidden where classes are many; return `fill(picked)` and its outputs.

    Args:
        shown: holds the (subset, model) that is drawn.
    """
    with gr.Column(visible=False) as panel:
        title = gr.HTML()
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                curve = gr.Plot(show_label=False, container=False)
            with gr.Column(scale=7, min_width=320):
                threshold = gr.Slider(
                    0, 1, 0.5, step=0.01, label="Threshold on the calibrated probability",
                    elem_id="threshold",
                )  # fmt: skip
                with gr.Row():
                    presets = [gr.Button(name, size="sm") for name in operating_point.PRESETS]
                prevalence = gr.Slider(
                    0.1,
                    99.9,
                    25,
                    step=0.1,
                    label="Prevalence where it would be used, %",
                    elem_id="prevalence",
                )
                table = gr.HTML(elem_id="operating")

    @parts.show_user_errors
    def draw(shown, threshold, prevalence):
        found = registry.checkpoint(*parts.require_state(shown))
        return _drawn(found, *_positives(found), threshold, prevalence)

    @parts.show_user_errors
    def fill(picked):
        found = registry.checkpoint(*picked)
        if found.subset.task != "binary-class":
            return [gr.Column(visible=False), *[gr.skip()] * 5]
        score, truth = _positives(found)
        share = float(truth.mean())
        curve, table = _drawn(found, score, truth, 0.5, 100 * share)
        return [
            gr.Column(visible=True),
            _title(found, score, truth),
            0.5,
            round(100 * share, 1),
            curve,
            table,
        ]

    def preset(name):
        @parts.show_user_errors
        def choose(shown, prevalence):
            found = registry.checkpoint(*parts.require_state(shown))
            trust = Trust.of(found)
            if trust is None or name not in trust.thresholds:
                raise MedvitError(f"No threshold was chosen for this model. {found.trust_problem}".strip())
            return trust.thresholds[name], *draw(shown, trust.thresholds[name], prevalence)

        return choose

    quiet: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")
    for slider in (threshold, prevalence):
        slider.input(
            draw, [shown, threshold, prevalence], [curve, table], trigger_mode="always_last", **quiet
        )
    for button, name in zip(presets, operating_point.PRESETS, strict=True):
        button.click(preset(name), [shown, prevalence], [threshold, curve, table], **quiet)
    return fill, [panel, title, threshold, prevalence, curve, table]


def _positives(found) -> tuple[np.ndarray, np.ndarray]:
    """Test split: probability of the class that is looked for, (N,), and whether it is the true one."""
    trust, logits = Trust.of(found), found.test_logits.astype(np.float64)
    probs = trust.calibrated(logits) if trust else probabilities(logits)
    positive = settings.of(found.subset.name).positive_class
    return probs[:, positive], found.test_labels == positive


def _drawn(found, score: np.ndarray, truth: np.ndarray, threshold: float, prevalence: float) -> tuple:
    """The curve and the table at a threshold, for a prevalence in per cent."""
    name = found.subset.classes[settings.of(found.subset.name).positive_class]
    at = operating_point.at(score, truth, threshold, prevalence / 100)
    return plots.operating_point(score, truth, threshold, name), _table(at)


def _title(found, score: np.ndarray, truth: np.ndarray) -> str:
    areas = found.card.get("trust", {}).get("operating") or operating_point.areas(score, truth)
    name = short_name(found.subset.classes[settings.of(found.subset.name).positive_class])
    roc, pr = areas["auroc_interval"], areas["auprc_interval"]
    return (
        f"<div class='panel-title'>Operating point: finding {name}</div>"
        f"<p class='small'>AUROC <b>{areas['auroc']:.3f}</b> ({roc[0]:.3f} to {roc[1]:.3f}) · area under the "
        f"precision-recall curve <b>{areas['auprc']:.3f}</b> ({pr[0]:.3f} to {pr[1]:.3f}), by chance "
        f"{areas['prevalence']:.3f}, the prevalence in the test split. The presets were chosen on "
        "validation.</p>"
    )


def _table(at: dict) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{name}</th><td>{at[key]:.1%}</td>"
        f"<td>{at[f'{key}_interval'][0]:.1%} to {at[f'{key}_interval'][1]:.1%}</td><td>{count}</td></tr>"
        for key, name, count in (
            (
                "sensitivity",
                "sensitivity: found of those who have it",
                f"{at['tp']} of {at['tp'] + at['fn']}",
            ),
            (
                "specificity",
                "specificity: cleared of those who do not",
                f"{at['tn']} of {at['tn'] + at['fp']}",
            ),
            ("ppv", "PPV: right when it says yes", ""),
            ("npv", "NPV: right when it says no", ""),
        )
    )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("share", "95 % interval", "test images"))
    return parts.table(f"<td></td>{head}", rows) + (
        f"<p class='quiet small'>PPV and NPV at a prevalence of {at['prevalence']:.1%}. Wilson "
        "intervals; those of PPV and NPV on the logit scale.</p>"
    )
