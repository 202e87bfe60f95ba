"""Figures of predicted labels."""

from collections import Counter

import numpy as np
import plotly.graph_objects as go

from medvit.data import short_name
from medvit.plots.style import apply_layout

# (name, lowest probability, upper bound, colour)
PROBABILITY_BANDS = (
    ("90 % and more", 0.9, 1.01, "#0f766e"),
    ("50 to 90 %", 0.5, 0.9, "#5fb3a8"),
    ("below 50 %", 0.0, 0.5, "#d97706"),
)
MAX_WHOLE_TICKS = 10  # images up to which each number has its tick


def confusion_matrix(matrix: np.ndarray, classes: tuple[str, ...], title: str = "") -> go.Figure:
    """Plot a heatmap of counts (C, C), rows the true class, coloured by the fraction of the row."""
    figure = go.Figure(
        go.Heatmap(
            z=matrix / matrix.sum(1, keepdims=True).clip(1),
            x=classes,
            y=classes,
            customdata=matrix,
            text=matrix,
            texttemplate="%{text}",
            colorscale="Cividis",
            zmin=0,
            zmax=1,
            colorbar=dict(title="fraction of row", tickformat=".0%"),
            hovertemplate="true class %{y}<br>predicted class %{x}<br>%{customdata} images, %{z:.1%} of the "
            "row<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", title="true class", automargin=True)
    figure.update_xaxes(title="predicted class", automargin=True)
    return apply_layout(figure, 560, title=title)


def label_counts(predictions: list[tuple[str, float]]) -> go.Figure:
    """Plot how many images got each label, by bands of probability.

    Args:
        predictions: label and probability of each image.
    """
    totals = Counter(label for label, _ in predictions)
    labels = sorted(totals, key=lambda label: totals[label])
    figure = go.Figure()
    for band, low, high, colour in PROBABILITY_BANDS:
        in_band = Counter(label for label, probability in predictions if low <= probability < high)
        figure.add_bar(
            y=[short_name(label) for label in labels],
            x=[in_band[label] for label in labels],
            name=band,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y}<br>%{x} images at " + band + "<extra></extra>",
        )
    few = max(totals.values(), default=0) <= MAX_WHOLE_TICKS
    figure.update_xaxes(title="images", rangemode="tozero", dtick=1 if few else None)
    figure.update_yaxes(automargin=True)
    # Above the bars: on a phone it takes several lines, which below would lie over the title of the axis.
    legend = dict(title="probability", orientation="h", y=1.02, yanchor="bottom", x=0, traceorder="normal")
    figure = apply_layout(figure, 340, barmode="stack", legend=legend)
    return figure.update_layout(margin_t=72)
