"""How far to trust a model: calibration, sets of answers, foreign images, other models, corruptions."""

import html
from collections.abc import Callable
from functools import lru_cache

import gradio as gr
import numpy as np

from medvit import plots
from medvit.data.medmnist import get
from medvit.evaluation.metrics import mcnemar, probabilities
from medvit.inference.registry import Registry
from medvit.reliability import calibration
from medvit.reliability.fit import Trust
from medvit.ui import parts
from medvit.ui.panels import operating_point


def build(registry: Registry, shown: gr.State) -> tuple[Callable, list]:
    """Lay out the panels; return `fill(picked)` and the outputs to fill.

    Args:
        shown: holds the (subset, model) that is drawn.
    """
    fill_operating, operating_outputs = operating_point.build(registry, shown)
    gr.HTML("<div class='panel-title'>How far to trust it</div>")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            reliability = gr.Plot(show_label=False, container=False)
        with gr.Column(scale=7, min_width=320):
            calibrated = gr.HTML()
    words = gr.HTML(elem_id="trust")
    with gr.Column(visible=False) as corrupted:
        gr.HTML("<div class='panel-title'>Under corruption (the MedMNIST-C families, 5 severities)</div>")
        robustness = gr.Plot(show_label=False, container=False)

    @parts.show_user_errors
    @lru_cache(128)
    def fill(picked):
        subset, model = picked
        found = registry.checkpoint(subset, model)
        others = [
            registry.checkpoint(subset, name) for _, name in registry.model_choices(subset) if name != model
        ]
        measured = found.card.get("robustness")
        bars = plots.robustness(measured["errors"], measured["clean"]) if measured else None
        return [
            *fill_operating(picked), reliability_of(found), *summary(found, others),
            gr.Column(visible=bool(measured)), bars,
        ]  # fmt: skip

    return fill, [*operating_outputs, reliability, calibrated, words, corrupted, robustness]


def reliability_of(found):
    """The reliability diagram of a checkpoint on its test split, before and after calibration."""
    logits, multi_label = found.test_logits.astype(np.float64), found.subset.multi_label
    answers = {"as they come": probabilities(logits, multi_label)}
    if trust := Trust.of(found):
        answers["calibrated"] = trust.calibrated(logits, multi_label)
    return plots.reliability(
        {name: calibration.confidence(probs, found.test_labels) for name, probs in answers.items()}
    )


def summary(found, others) -> tuple[str, str]:
    """All of it in tables, as HTML: the calibration, and the rest."""
    section = found.card.get("trust")
    if section is None or found.trust is None:
        missing = found.trust_problem or "The card holds no figures on trust."
        return f"<p>{missing}</p>", _rivals(found, others)
    tables = _foreign(section, found), _sets(section), _rivals(found, others)
    return _calibration(section), "".join(f"<section>{table}</section>" for table in tables)


def _table(head: list[str], rows: list[list[str]]) -> str:
    columns = "".join(f"<th scope='col'>{name}</th>" for name in head)
    body = "".join(
        f"<tr><th scope='row'>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return parts.table(f"<td></td>{columns}", body)


def _range(interval) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _calibration(section: dict) -> str:
    seen = section["views"]
    whole = seen["n"] == section["n"]
    accuracy = f"{seen['accuracy_before']:.1%}" if whole else ""
    lines = [("as they come", section["before"], accuracy), ("calibrated", section["after"], accuracy)]
    if not whole:
        lines.append((f"calibrated, {seen['n']:,} of them", seen["before"], f"{seen['accuracy_before']:.1%}"))
    lines.append((f"{seen['count']} views combined", seen["after"], f"{seen['accuracy']:.1%}"))
    rows = [
        [
            name,
            f"{one['ece']:.3f}",
            f"{one['ece_floor']:.3f}",
            f"{one['brier']:.3f}",
            f"{one['nll']:.3f}",
            right,
        ]
        for name, one, right in lines
    ]
    return (
        _table(["ECE", "by chance alone", "Brier", "NLL", "accuracy"], rows)
        + "<p class='quiet small'>ECE: how far confidence and accuracy lie apart, in 15 bins of equally many "
        "images. By chance alone: what a perfect model would show on as many. Calibrated: "
        f"{calibration.verdict(section['after'])}. An image's mirrored and turned views agree to "
        f"{seen['stability']:.1%}.</p>"
    )


def _sets(section: dict) -> str:
    if "sets" not in section:
        return ""
    fitted = section["sets"]["fitted_on"]
    rows = []
    for level, one in section["sets"]["levels"].items():
        if one["possible"]:
            sizes = "<br>".join(
                f"{size}: {part['coverage']:.0%} of {part['images']:,}"
                for size, part in one["by_size"].items()
            )
            held = f"{one['coverage']:.1%} ({_range(one['coverage_interval'])})"
            rows.append([f"{float(level):.0%}", held, f"{one['mean_size']:.2f}", sizes])
        else:
            rows.append([f"{float(level):.0%}", f"not possible on<br>{fitted} validation images", "–", "–"])
    level = section["sets"]["default_level"]
    low, high = section["sets"]["levels"][f"{level:.2f}"]["expected"]
    return _table(["truth in the set", "mean size", "by size of the set"], rows) + (
        "<p class='quiet small'>Sets of answers at each promised level "
        f"({section['sets']['method'].upper()}), fitted on {fitted:,} validation images. At {level:.0%}, "
        f"with so many, {low:.1%} to {high:.1%} is what to expect where test images are like those of "
        "validation.</p>"
    )


def _foreign(section: dict, found) -> str:
    seen = section["foreign"]
    if "kinds" not in seen:
        return f"<p>{seen.get('missing', '')}</p>"
    named = {name: get(name).title for name in seen["kinds"] if name.endswith("mnist")}
    rows = [
        [
            named.get(kind, kind) + note,
            f"{one['accepted']:.1%}",
            _range(one["accepted_interval"]),
            f"{one['auroc']:.3f}",
        ]
        for group, note in (("kinds", ""), ("near", " (near; no claim)"))
        for kind, one in seen[group].items()
    ]
    own = [f"test images of {found.subset.title}", f"{seen['test_accepted']:.1%}",
           _range(seen["test_accepted_interval"]), "–"]  # fmt: skip
    reader = "the model shared by all subsets" if seen["model"] == "shared" else "this model"
    return _table(["accepted", "95 % interval", "AUROC"], [own, *rows]) + (
        f"<p class='quiet small'>The check for foreign images: {seen['score']}, read from {reader}; its "
        "limit accepts 95 % of validation.</p>"
    )


def _rivals(found, others) -> str:
    if found.subset.multi_label or not others:
        return ""
    right = found.test_logits.argmax(1) == found.test_labels
    rows = []
    for other in others:
        only, other_only, p = mcnemar(right, other.test_logits.argmax(1) == other.test_labels)
        chance = "< 0.001" if p < 0.001 else f"{p:.3f}"
        rows.append([html.escape(other.title), f"{only:,}", f"{other_only:,}", chance])
    return _table(["only this model right", "only the other right", "p (McNemar)"], rows)
