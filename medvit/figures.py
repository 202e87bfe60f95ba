"""Arrays in, plotly figures and pictures out. Pure functions."""

import matplotlib
import numpy as np
import plotly.graph_objects as go
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from medvit.subsets import short_name

ACCENT = "#0f766e"
# Okabe and Ito's colours: eight that stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A800", "#5B3A8C")
INK = "#808891"  # readable on white and on near-black
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def _layout(figure: go.Figure, height: int, **layout) -> go.Figure:
    figure.update_layout(
        template="none",
        height=height,
        margin=dict(l=60, r=20, t=40, b=50),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=dict(family=FONT, size=13, color=INK),
        colorway=COLOURS,
        **layout,
    )
    grid = dict(gridcolor="rgba(128,136,145,0.25)", zeroline=False, linecolor="rgba(128,136,145,0.5)")
    figure.update_xaxes(**grid)
    figure.update_yaxes(**grid)
    return figure


def confusion_matrix(matrix: np.ndarray, classes: tuple[str, ...], title: str = "") -> go.Figure:
    """Heatmap of counts (C, C), rows the truth, coloured by the share of the row."""
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=classes,
            y=classes,
            customdata=matrix,
            text=matrix,
            texttemplate="%{text}",
            colorscale="Cividis",
            zmin=0,
            zmax=1,
            colorbar=dict(title="share of row", tickformat=".0%"),
            hovertemplate="truth %{y}<br>said %{x}<br>%{customdata} images, %{z:.1%} of the "
            "row<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", title="truth", automargin=True)
    figure.update_xaxes(title="the model says", automargin=True)
    return _layout(figure, 560, title=title)


def roc_curves(
    labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...], title: str = ""
) -> go.Figure:
    """One ROC curve a class against the rest.

    Args:
        labels: (N,) class indices, or (N, C) of 0 and 1. scores: (N, C).
    """
    one_hot = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(classes))
    figure = go.Figure()
    for name, truth, score in zip(classes, one_hot.T, scores.T, strict=True):
        if 0 < truth.sum() < len(truth):
            false, true, _ = roc_curve(truth, score)
            area = float(np.trapezoid(true, false))
            hover = f"{name}<br>false positives %{{x:.3f}}<br>true positives %{{y:.3f}}<extra></extra>"
            figure.add_scatter(
                x=false, y=true, name=f"{short_name(name)} · {area:.3f}", mode="lines", hovertemplate=hover
            )
    chance = dict(color=INK, dash="dot", width=1)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, hoverinfo="skip", showlegend=False)
    figure.update_xaxes(title="false positive rate", range=[-0.01, 1.01])
    figure.update_yaxes(title="true positive rate", range=[-0.01, 1.01])
    return _layout(
        figure,
        460,
        title=title,
        legend=dict(title="class · area", font_size=11, y=0.02, yanchor="bottom", x=1, xanchor="right"),
    )


def learning_curve(history: list[dict[str, float]]) -> go.Figure:
    """Loss and accuracy of each epoch, from card.json."""
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
    figure = _layout(figure, 400, yaxis2=accuracy_axis, legend=dict(orientation="h", y=-0.25))
    return figure.update_layout(margin_r=70, margin_t=10)


def enlarge(source: np.ndarray, side: int = 448) -> Image.Image:
    """Source pixels, uint8 (s, s, 3), as a picture of `side` pixels with hard pixel edges."""
    return Image.fromarray(source).resize((side, side), Image.Resampling.NEAREST)


def overlay(source: np.ndarray, heatmap: np.ndarray, opacity: float = 0.5, side: int = 448) -> Image.Image:
    """Lay a map (g, g) in 0..1 over source pixels, uint8 (s, s, 3); the map is enlarged smoothly."""
    smooth = Image.fromarray(heatmap.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    colours = matplotlib.colormaps["inferno"](np.asarray(smooth).clip(0, 1), bytes=True)[..., :3]
    return Image.blend(enlarge(source, side), Image.fromarray(np.ascontiguousarray(colours)), opacity)


def reliability(
    answers: dict[str, tuple[np.ndarray, np.ndarray]], bins: int = 15, title: str = ""
) -> go.Figure:
    """How often answers are right, against how sure they are; on the diagonal where both agree.

    Args:
        answers: name of a curve -> confidences (N,) in 0..1, and bool (N,), whether each answer is right.
            Each of the `bins` (fewer where there are few images) holds as many; the bars are Wilson's 95 %
            intervals.
    """
    figure = go.Figure()
    chance = dict(color=INK, dash="dot", width=1)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, hoverinfo="skip", showlegend=False)
    lowest = 1.0
    for name, (confidences, correct) in answers.items():
        order = np.argsort(confidences, kind="stable")
        parts = np.array_split(order, min(bins, max(1, len(order) // 25)))
        sure = np.array([confidences[part].mean() for part in parts])
        right = np.array([correct[part].mean() for part in parts])
        limits = [
            binomtest(int(correct[part].sum()), len(part)).proportion_ci(method="wilson") for part in parts
        ]
        low, high = (np.array([getattr(limit, end) for limit in limits]) for end in ("low", "high"))
        lowest = min(lowest, sure.min(), low.min())
        figure.add_scatter(
            x=sure,
            y=right,
            error_y=dict(
                array=(high - right).clip(0), arrayminus=(right - low).clip(0), thickness=1, width=2
            ),
            name=name,
            mode="lines+markers",
            customdata=np.stack([[len(part) for part in parts], low, high], 1),
            hovertemplate="sure %{x:.1%}, right %{y:.1%}<br>%{customdata[1]:.1%} to %{customdata[2]:.1%}, "
            "%{customdata[0]} images<extra></extra>",
        )
    start = max(0.0, np.floor(lowest * 10) / 10)
    figure.update_xaxes(title="how sure the model is", range=[start - 0.01, 1.01], tickformat=".0%")
    figure.update_yaxes(title="how often it is right", range=[start - 0.01, 1.01], tickformat=".0%")
    return _layout(figure, 400, title=title, legend=dict(y=0.02, yanchor="bottom", x=1, xanchor="right"))


def operating_point(score: np.ndarray, truth: np.ndarray, threshold: float, name: str) -> go.Figure:
    """The ROC curve of one class, with the point that a threshold stands for.

    Args:
        score: probability of the class (N,). truth: bool (N,). name: of the class.
    """
    false, true, _ = roc_curve(truth, score)
    said = score >= threshold
    point = float(said[~truth].mean()), float(said[truth].mean())
    figure = go.Figure()
    chance = dict(color=INK, dash="dot", width=1)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, hoverinfo="skip", showlegend=False)
    figure.add_scatter(x=false, y=true, mode="lines", line_color=COLOURS[0], showlegend=False)
    figure.add_scatter(
        x=[point[0]],
        y=[point[1]],
        mode="markers",
        marker=dict(size=14, color=COLOURS[1], line=dict(width=2, color="white")),
        showlegend=False,
        hovertemplate=f"threshold {threshold:.2f}<br>false positives %{{x:.1%}}<br>found %{{y:.1%}}"
        "<extra></extra>",
    )
    figure.update_xaxes(title="false positive rate", range=[-0.01, 1.01])
    figure.update_yaxes(title=f"share of {short_name(name)} found", range=[-0.01, 1.01])
    return _layout(figure, 360)


def robustness(errors: dict[str, list[float]], clean: float) -> go.Figure:
    """Error under each corruption, averaged over its five severities, the worst on top.

    Args:
        errors: corruption -> balanced error (1 - mean recall) at severities 1 to 5. clean: that without any.
    """
    order = sorted(errors, key=lambda name: float(np.mean(errors[name])))
    means = [float(np.mean(errors[name])) for name in order]
    steps = [[f"{error:.1%}" for error in errors[name]] for name in order]
    figure = go.Figure(
        go.Bar(
            x=means,
            y=[name.replace("_", " ") for name in order],
            orientation="h",
            marker_color=COLOURS[0],
            customdata=[" · ".join(step) for step in steps],
            hovertemplate="%{y}: %{x:.1%}<br>by severity: %{customdata}<extra></extra>",
        )
    )
    figure.add_vline(x=clean, line=dict(color=COLOURS[1], dash="dash"), annotation_text=f"clean, {clean:.1%}")
    figure.update_xaxes(title="balanced error, mean of five severities", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    return _layout(figure, 120 + 26 * len(order))
