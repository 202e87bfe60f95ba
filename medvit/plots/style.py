"""Colours and layout that all figures share."""

from typing import Any

import plotly.graph_objects as go

# The palette of Okabe and Ito, which colour-blind readers can tell apart, and a ninth colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A800", "#5B3A8C")
INK = "#808891"  # readable on white and on near-black
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
FONT_SIZE = 13  # pixels; plotly enlarges titles unless they are told
UNIT_RANGE = (-0.01, 1.01)  # of an axis from 0 to 1, with room for the line width


def apply_layout(figure: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Give a figure the common fonts, colours, grid and margins; `layout` as plotly takes it."""
    figure.update_layout(
        template="none",
        height=height,
        margin=dict(l=60, r=20, t=40, b=50),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=dict(family=FONT, size=FONT_SIZE, color=INK),
        colorway=COLOURS,
        **layout,
    )
    figure.update_layout(legend_title_font_size=FONT_SIZE)
    grid = dict(gridcolor="rgba(128,136,145,0.25)", zeroline=False, linecolor="rgba(128,136,145,0.5)")
    figure.update_xaxes(**grid, title_font_size=FONT_SIZE)
    figure.update_yaxes(**grid, title_font_size=FONT_SIZE)
    return figure


def add_diagonal(figure: go.Figure) -> None:
    """Add a dotted line from (0, 0) to (1, 1)."""
    line = dict(color=INK, dash="dot", width=1)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False)
