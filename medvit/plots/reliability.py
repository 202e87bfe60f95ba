"""Reliability diagram, and errors under image corruptions."""

import numpy as np
import plotly.graph_objects as go

from medvit.plots.style import COLOURS, add_diagonal, apply_layout
from medvit.slow_imports import scipy_stats

MIN_PER_BIN = 25  # images


def reliability_diagram(curves: dict[str, tuple[np.ndarray, np.ndarray]], bins: int = 15) -> go.Figure:
    """Plot accuracy over confidence; a calibrated model lies on the diagonal.

    Args:
        curves: name -> confidence (N,) in 0..1, and bool (N,), whether each prediction is correct.
        bins: number of bins with equal counts, fewer where there are few images. Error bars are Wilson's 95 %
            intervals.
    """
    figure = go.Figure()
    add_diagonal(figure)
    lowest = 1.0
    for name, (confidence, correct) in curves.items():
        order = np.argsort(confidence, kind="stable")
        groups = np.array_split(order, min(bins, max(1, len(order) // MIN_PER_BIN)))
        x = np.array([confidence[group].mean() for group in groups])
        y = np.array([correct[group].mean() for group in groups])
        low, high = np.array([_wilson(correct[group]) for group in groups]).T
        lowest = min(lowest, x.min(), low.min())
        figure.add_scatter(
            x=x,
            y=y,
            error_y=dict(array=(high - y).clip(0), arrayminus=(y - low).clip(0), thickness=1, width=2),
            name=name,
            mode="lines+markers",
            customdata=np.stack([[len(group) for group in groups], low, high], 1),
            hovertemplate="confidence %{x:.1%}, accuracy %{y:.1%}<br>%{customdata[1]:.1%} to "
            "%{customdata[2]:.1%}, %{customdata[0]} images<extra></extra>",
        )
    start = max(0.0, np.floor(lowest * 10) / 10)
    figure.update_xaxes(title="confidence", range=[start - 0.01, 1.01], tickformat=".0%")
    figure.update_yaxes(title="accuracy", range=[start - 0.01, 1.01], tickformat=".0%")
    legend = dict(y=0.02, yanchor="bottom", x=1, xanchor="right")
    return apply_layout(figure, 400, legend=legend)


def _wilson(correct: np.ndarray) -> tuple[float, float]:
    test = scipy_stats.binomtest(int(correct.sum()), len(correct))
    interval = test.proportion_ci(method="wilson")
    return interval.low, interval.high


def corruption_errors(errors: dict[str, list[float]], clean: float) -> go.Figure:
    """Plot the error under each corruption, the mean of its five severities, the largest on top.

    Args:
        errors: corruption -> balanced error (1 - mean recall) at severities 1 to 5.
        clean: balanced error without corruption.
    """
    order = sorted(errors, key=lambda name: float(np.mean(errors[name])))
    figure = go.Figure(
        go.Bar(
            x=[float(np.mean(errors[name])) for name in order],
            y=[name.replace("_", " ") for name in order],
            orientation="h",
            marker_color=COLOURS[0],
            customdata=[" · ".join(f"{error:.1%}" for error in errors[name]) for name in order],
            hovertemplate="%{y}: %{x:.1%}<br>by severity: %{customdata}<extra></extra>",
        )
    )
    figure.add_vline(
        x=clean,
        line=dict(color=COLOURS[1], dash="dash"),
        annotation_text=f"clean, {clean:.1%}",
        annotation_position="top",
    )
    figure.update_xaxes(title="balanced error, mean of five severities", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    return apply_layout(figure, 120 + 26 * len(order))
