"""Reliability diagram of the confidence of people, whose answers are few."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from medvit.plots.style import UNIT_RANGE, add_diagonal, apply_layout


def confidence_diagram(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> go.Figure:
    """Plot the fraction of right answers over confidence; a calibrated reader lies on the diagonal.

    Args:
        curves: name -> points {"confidence", "value", "n", "interval"}, all in 0..1 but the count `n`. Error
            bars are the intervals.
    """
    figure = go.Figure()
    add_diagonal(figure)
    for name, points in curves.items():
        figure.add_scatter(
            x=[point["confidence"] for point in points],
            y=[point["value"] for point in points],
            error_y=dict(
                array=[max(0.0, point["interval"][1] - point["value"]) for point in points],
                arrayminus=[max(0.0, point["value"] - point["interval"][0]) for point in points],
                thickness=1,
                width=3,
            ),
            name=name,
            mode="lines+markers",
            customdata=[[point["n"], *point["interval"]] for point in points],
            hovertemplate="confidence %{x:.0%}, right %{y:.0%}<br>%{customdata[1]:.0%} to "
            "%{customdata[2]:.0%}, %{customdata[0]} answers<extra></extra>",
        )
    figure.update_xaxes(title="confidence", range=UNIT_RANGE, tickformat=".0%")
    figure.update_yaxes(title="right answers", range=UNIT_RANGE, tickformat=".0%")
    return apply_layout(figure, 360, legend=dict(orientation="h", y=1.02, yanchor="bottom", x=0))
