"""ROC, precision-recall, insertion-deletion and learning curves."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from medvit.data import short_name
from medvit.plots.style import COLOURS, INK, UNIT_RANGE, add_diagonal, apply_layout
from medvit.slow_imports import sklearn_metrics

MACRO_LINE = dict(color=INK, dash="dash", width=3)
LEGEND = dict(font_size=11, orientation="h", x=0, y=-0.22, yanchor="top", title_side="top")
MOST_CURVES = 24  # beside the mean: of more classes, those with the smallest areas
GRID = np.linspace(0, 1, 201)  # where curves are averaged

# {class: (x, y, area)}, as `medvit.evaluation.one_vs_rest` computes them
ClassCurves = Mapping[str, tuple[np.ndarray, np.ndarray, float]]


def roc_curves(curves: ClassCurves, title: str = "") -> go.Figure:
    """Plot one ROC curve for each class against the rest, and their mean (macro).

    Of more than MOST_CURVES classes, those with the lowest AUC are drawn; the mean is of all.

    Args:
        curves: {class: (false positive rate, true positive rate, AUC)}.
    """
    figure, means = go.Figure(), []
    rates = "false positive rate %{x:.3f}<br>true positive rate %{y:.3f}<extra></extra>"
    drawn = _smallest_areas(curves)
    for name, (fpr, tpr, area) in curves.items():
        means.append(np.interp(GRID, fpr, tpr))
        if name in drawn:
            _add_curve(figure, fpr, tpr, f"{short_name(name)} · {area:.3f}", f"{name}<br>{rates}")
    if means:
        macro = np.concatenate([[0], np.mean(means, 0)])
        fpr = np.concatenate([[0], GRID])
        _add_curve(figure, fpr, macro, _mean_label(curves), f"mean of the classes<br>{rates}", MACRO_LINE)
    add_diagonal(figure)
    figure.update_xaxes(title="false positive rate", range=UNIT_RANGE)
    figure.update_yaxes(title="true positive rate", range=UNIT_RANGE)
    return _with_legend(figure, "AUC", curves, title)


def precision_recall_curves(curves: ClassCurves, title: str = "") -> go.Figure:
    """Plot one precision-recall curve for each class, and their mean; of many classes as `roc_curves` does.

    Args:
        curves: {class: (recall, precision, average precision)}, by rising recall.
    """
    figure, means = go.Figure(), []
    values = "recall %{x:.3f}<br>precision %{y:.3f}<extra></extra>"
    drawn = _smallest_areas(curves)
    for name, (recall, precision, area) in curves.items():
        means.append(np.interp(GRID, recall, precision))
        if name in drawn:
            _add_curve(figure, recall, precision, f"{short_name(name)} · {area:.3f}", f"{name}<br>{values}")
    if means:
        hover = f"mean of the classes<br>{values}"
        _add_curve(figure, GRID, np.mean(means, 0), _mean_label(curves), hover, MACRO_LINE)
    figure.update_xaxes(title="recall", range=UNIT_RANGE)
    figure.update_yaxes(title="precision", range=UNIT_RANGE)
    return _with_legend(figure, "average precision", curves, title)


def _with_legend(figure: go.Figure, area: str, curves: ClassCurves, title: str) -> go.Figure:
    """The layout, with the legend below the curves, which it would cover on a phone."""
    some = f", lowest {MOST_CURVES} of {len(curves):,}" if len(curves) > MOST_CURVES else ""
    rows = min(len(curves), MOST_CURVES) // 2 + 1  # of two entries, the mean among them
    legend = dict(title=f"class · {area}{some}", **LEGEND)
    return apply_layout(figure, 420 + 19 * rows, title=title, legend=legend)


def _smallest_areas(curves: ClassCurves) -> set[str]:
    return set(sorted(curves, key=lambda name: curves[name][2])[:MOST_CURVES])


def _mean_label(curves: ClassCurves) -> str:
    return f"mean · {np.mean([area for _, _, area in curves.values()]):.3f}"


def operating_point(score: np.ndarray, positive: np.ndarray, threshold: float, name: str) -> go.Figure:
    """Plot the ROC curve of one class and mark the point that belongs to a threshold.

    Args:
        score: probability of the class, (N,).
        positive: bool (N,), whether an image belongs to the class.
        name: of the class.
    """
    fpr, tpr, _ = sklearn_metrics.roc_curve(positive, score)
    predicted = score >= threshold
    figure = go.Figure()
    add_diagonal(figure)
    figure.add_scatter(x=fpr, y=tpr, mode="lines", line_color=COLOURS[0], showlegend=False)
    figure.add_scatter(
        x=[float(predicted[~positive].mean())],
        y=[float(predicted[positive].mean())],
        mode="markers",
        marker=dict(size=14, color=COLOURS[1], line=dict(width=2, color="white")),
        showlegend=False,
        hovertemplate=f"threshold {threshold:.2f}<br>false positive rate %{{x:.1%}}<br>sensitivity %{{y:.1%}}"
        "<extra></extra>",
    )
    figure.update_xaxes(title="false positive rate", range=UNIT_RANGE)
    figure.update_yaxes(title=f"sensitivity for {short_name(name)}", range=UNIT_RANGE)
    return apply_layout(figure, 360)


def insertion_deletion_curves(
    fraction: np.ndarray,
    deletion: np.ndarray,
    insertion: np.ndarray,
    random_deletion: np.ndarray,
    random_insertion: np.ndarray,
) -> go.Figure:
    """Plot the deletion and insertion curves of a heatmap beside those of random orders.

    Args:
        fraction: of the patches that are blurred or restored, (S,) from 0 to 1.
        deletion, insertion, random_deletion, random_insertion: probability of the class, (S,).
    """
    figure = go.Figure()
    for label, values, colour, dash in (
        ("deletion", deletion, COLOURS[0], "solid"),
        ("insertion", insertion, COLOURS[1], "solid"),
        ("random order", random_deletion, COLOURS[0], "dot"),
        ("random order", random_insertion, COLOURS[1], "dot"),
    ):
        name = f"{label} {np.trapezoid(values, fraction):.2f}"
        figure.add_scatter(
            x=fraction,
            y=values,
            name=name,
            mode="lines",
            line=dict(color=colour, dash=dash),
            hovertemplate=f"{name}<br>%{{x:.0%}} of the patches<br>probability %{{y:.2f}}<extra></extra>",
        )
    figure.update_xaxes(title="patches blurred or restored", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title="probability", range=[-0.02, 1.02])
    legend = dict(orientation="h", y=-0.3, yanchor="top", x=0, entrywidth=0.48, entrywidthmode="fraction")
    figure = apply_layout(figure, 260, legend=legend)
    return figure.update_layout(margin=dict(l=45, r=8, t=10, b=90), font_size=11)


def learning_curve(history: list[dict[str, float]]) -> go.Figure:
    """Plot loss and accuracy over the epochs; `history` is that of card.json."""
    epochs = [row["epoch"] for row in history]
    figure = go.Figure()
    for key, name, axis in (
        ("train_loss", "training loss (augmented, smoothed)", "y"),
        ("val_loss", "validation loss", "y"),
        ("val_accuracy", "validation accuracy", "y2"),
    ):
        dash = "dot" if axis == "y2" else "solid"
        values = [row.get(key) for row in history]
        figure.add_scatter(x=epochs, y=values, name=name, yaxis=axis, mode="lines+markers", line_dash=dash)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="loss", rangemode="tozero")
    accuracy_axis = dict(
        title="accuracy", overlaying="y", side="right", range=[0, 1], tickformat=".0%", showgrid=False
    )
    figure = apply_layout(figure, 400, yaxis2=accuracy_axis, legend=dict(orientation="h", y=-0.25))
    return figure.update_layout(margin_r=70, margin_t=10)


def _add_curve(
    figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, hover: str, line: dict | None = None
) -> None:
    """Add a curve without the points that make no visible difference, on a grid of 400 by 400 cells."""
    cells = np.stack([x, y], 1) * 400 // 1
    visible = np.ones(len(x), bool)
    visible[1:-1] = (cells[1:-1] != cells[:-2]).any(1) | (cells[1:-1] != cells[2:]).any(1)
    x, y = x[visible].round(4), y[visible].round(4)
    figure.add_scatter(x=x, y=y, name=name, mode="lines", hovertemplate=hover, line=line)
