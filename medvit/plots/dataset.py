"""Figures of the images and labels of a dataset."""

import numpy as np
import plotly.graph_objects as go

from medvit.data import short_name
from medvit.plots.style import COLOURS, INK, apply_layout


def class_balance(counts: dict[str, np.ndarray], classes: tuple[str, ...]) -> go.Figure:
    """Plot the fraction of each class in each split.

    Args:
        counts: images of each class, (C,), by split.
    """
    figure = go.Figure()
    for split, count in counts.items():
        figure.add_bar(
            y=[short_name(name) for name in classes],
            x=count / max(1, count.sum()),
            customdata=count,
            name=f"{split}, {count.sum():,}",
            orientation="h",
            hovertemplate="%{y}<br>%{customdata:,} images of " + split + ", %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(title="fraction of the split", tickformat=".0%")
    figure.update_yaxes(autorange="reversed", automargin=True)
    legend = dict(orientation="h", y=1, yanchor="bottom")
    figure = apply_layout(figure, 150 + 42 * len(classes), legend=legend, bargap=0.25)
    return figure.update_layout(margin_t=40, margin_b=60)


def intensity_histogram(histogram: np.ndarray) -> go.Figure:
    """Plot the fraction of pixels, (channels, bins), over the grey levels 0..255, one line a channel."""
    rgb = (("red", COLOURS[1]), ("green", COLOURS[2]), ("blue", COLOURS[0]))
    channels = rgb if len(histogram) == 3 else (("grey", INK),)
    levels = (np.arange(histogram.shape[1]) + 0.5) * 256 / histogram.shape[1]
    figure = go.Figure()
    for (name, colour), fractions in zip(channels, histogram, strict=True):
        figure.add_scatter(
            x=levels,
            y=fractions,
            name=name,
            mode="lines",
            line=dict(color=colour, shape="hvh"),
            hovertemplate=name + " near %{x:.0f}<br>%{y:.1%} of the pixels<extra></extra>",
        )
    figure.update_xaxes(title="intensity, from 0 (black) to 255", range=[0, 256])
    figure.update_yaxes(title="fraction of pixels", tickformat=".0%", rangemode="tozero")
    return apply_layout(figure, 300, legend=dict(orientation="h", y=1.1)).update_layout(margin_t=10)
