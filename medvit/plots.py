"""Arrays in, plotly figures and pictures out. Pure functions."""

import base64
import io
from collections.abc import Iterator
from functools import cache

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from medvit.data import short_name
from medvit.explain.faithfulness import Curves

# Okabe and Ito's colours: eight that stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A800", "#5B3A8C")
INK = "#808891"  # readable on white and on near-black
MACRO = dict(color=INK, dash="dash", width=3)
LEGEND = dict(font_size=11, y=0.02, yanchor="bottom")
POINTS = 201  # of a mean curve
SIDE = 336  # of shown pictures, in pixels: twelve for each of 28
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
    probs = matrix / matrix.sum(1, keepdims=True).clip(1)
    figure = go.Figure(
        go.Heatmap(
            z=probs,
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
    """One ROC curve a class against the rest, and their mean (macro).

    Args:
        labels: (N,) class indices, or (N, C) of 0 and 1. scores: (N, C).
    """
    from sklearn.metrics import roc_curve  # a second to import, and not for the first page

    grid = np.linspace(0, 1, POINTS)
    figure, means, areas = go.Figure(), [], []
    for name, truth, score in _each_class(labels, scores, classes):
        false, true, _ = roc_curve(truth, score)
        areas.append(float(np.trapezoid(true, false)))
        means.append(np.interp(grid, false, true))
        hover = f"{name}<br>false positives %{{x:.3f}}<br>true positives %{{y:.3f}}<extra></extra>"
        _curve(figure, false, true, f"{short_name(name)} · {areas[-1]:.3f}", hover)
    if means:
        hover = "mean of the classes<br>false positives %{x:.3f}<br>true positives %{y:.3f}<extra></extra>"
        macro = np.concatenate([[0], np.mean(means, 0)])
        _curve(figure, np.concatenate([[0], grid]), macro, f"mean · {np.mean(areas):.3f}", hover, MACRO)
    chance = dict(color=INK, dash="dot", width=1)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, hoverinfo="skip", showlegend=False)
    figure.update_xaxes(title="false positive rate", range=[-0.01, 1.01])
    figure.update_yaxes(title="true positive rate", range=[-0.01, 1.01])
    return _layout(
        figure, 460, title=title, legend=dict(title="class · area", **LEGEND, xanchor="right", x=1)
    )


def precision_recall_curves(
    labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...], title: str = ""
) -> go.Figure:
    """One precision-recall curve a class against the rest, and their mean; arguments as `roc_curves`."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    grid = np.linspace(0, 1, POINTS)
    figure, means, areas = go.Figure(), [], []
    for name, truth, score in _each_class(labels, scores, classes):
        precision, recall, _ = precision_recall_curve(truth, score, drop_intermediate=True)
        areas.append(float(average_precision_score(truth, score)))
        means.append(np.interp(grid, recall[::-1], precision[::-1]))
        hover = f"{name}<br>recall %{{x:.3f}}<br>precision %{{y:.3f}}<extra></extra>"
        _curve(figure, recall[::-1], precision[::-1], f"{short_name(name)} · {areas[-1]:.3f}", hover)
    if means:
        hover = "mean of the classes<br>recall %{x:.3f}<br>precision %{y:.3f}<extra></extra>"
        _curve(figure, grid, np.mean(means, 0), f"mean · {np.mean(areas):.3f}", hover, MACRO)
    figure.update_xaxes(title="recall", range=[-0.01, 1.01])
    figure.update_yaxes(title="precision", range=[-0.01, 1.01])
    return _layout(
        figure,
        460,
        title=title,
        legend=dict(title="class · average precision", **LEGEND, xanchor="left", x=0),
    )


def _each_class(
    labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth and score of each class that has a curve: neither absent nor alone."""
    one_hot = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(classes))
    for name, truth, score in zip(classes, one_hot.T, scores.T, strict=True):
        if 0 < truth.sum() < len(truth):
            yield name, truth, score


def _curve(
    figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, hover: str, line: dict | None = None
) -> None:
    """Add a curve without the points that would not be seen: those within a cell of a grid of 400 by 400."""
    cells = np.stack([x, y], 1) * 400 // 1
    kept = np.ones(len(x), bool)
    kept[1:-1] = (cells[1:-1] != cells[:-2]).any(1) | (cells[1:-1] != cells[2:]).any(1)
    figure.add_scatter(
        x=x[kept].round(4), y=y[kept].round(4), name=name, mode="lines", hovertemplate=hover, line=line
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


def class_balance(counts: dict[str, np.ndarray], classes: tuple[str, ...]) -> go.Figure:
    """Images of each class by split, as shares of the split: counts (C,) keyed by split."""
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
    figure.update_xaxes(title="share of the split", tickformat=".0%")
    figure.update_yaxes(autorange="reversed", automargin=True)
    legend = dict(orientation="h", y=-0.2, yanchor="top")
    height = 150 + 42 * len(classes)
    return _layout(figure, height, legend=legend, bargap=0.25).update_layout(margin_t=10, margin_b=90)


def intensities(histogram: np.ndarray) -> go.Figure:
    """Shares of pixels (channels, bins) over the grey levels 0..255; one line a channel."""
    figure = go.Figure()
    names = (
        [("grey", INK)]
        if len(histogram) == 1
        else [("red", "#D55E00"), ("green", "#009E73"), ("blue", "#0072B2")]
    )
    levels = (np.arange(histogram.shape[1]) + 0.5) * 256 / histogram.shape[1]
    for (name, line_colour), probs in zip(names, histogram, strict=True):
        figure.add_scatter(
            x=levels, y=probs, name=name, mode="lines", line=dict(color=line_colour, shape="hvh"),
            hovertemplate=name + " near %{x:.0f}<br>%{y:.1%} of the pixels<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="intensity, 0 black to 255", range=[0, 256])
    figure.update_yaxes(title="share of pixels", tickformat=".0%", rangemode="tozero")
    return _layout(figure, 300, legend=dict(orientation="h", y=1.1)).update_layout(margin_t=10)


def batch_summary(answers: list[tuple[str, float]]) -> go.Figure:
    """How many pictures got each label, and how surely: (label, probability) of each picture."""
    labels = sorted({label for label, _ in answers}, key=lambda name: [one for one, _ in answers].count(name))
    bands = (
        ("90 % and more", 0.9, 1.01, "#0f766e"),
        ("50 to 90 %", 0.5, 0.9, "#5fb3a8"),
        ("below 50 %", 0.0, 0.5, "#d97706"),
    )
    figure = go.Figure()
    for name, low, high, colour in bands:
        inside = [label for label, share in answers if low <= share < high]
        figure.add_bar(
            y=[short_name(label) for label in labels],
            x=[inside.count(label) for label in labels],
            name=name,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y}<br>%{x} pictures at " + name + "<extra></extra>",
        )
    figure.update_xaxes(title="pictures", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    legend = dict(title="probability", orientation="h", y=-0.25, yanchor="top", traceorder="normal")
    return _layout(figure, 340, barmode="stack", legend=legend).update_layout(margin_t=10, margin_b=100)


def deletion_curves(curves: Curves) -> go.Figure:
    """Deletion and insertion of a map beside those of random orders."""
    figure = go.Figure()
    areas = curves.areas()
    for key, colour, dash in (
        ("deletion", COLOURS[0], "solid"),
        ("insertion", COLOURS[1], "solid"),
        ("random_deletion", COLOURS[0], "dot"),
        ("random_insertion", COLOURS[1], "dot"),
    ):
        name = f"{'in random order' if key.startswith('random') else key} {areas[key]:.2f}"
        figure.add_scatter(
            x=curves.share,
            y=getattr(curves, key),
            name=name,
            mode="lines",
            line=dict(color=colour, dash=dash),
            hovertemplate=f"{name}<br>%{{x:.0%}} of the patches<br>probability %{{y:.2f}}<extra></extra>",
        )
    figure.update_xaxes(title="patches blurred, or brought back", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title="probability", range=[-0.02, 1.02])
    legend = dict(orientation="h", y=-0.3, yanchor="top", x=0, entrywidth=0.48, entrywidthmode="fraction")
    figure = _layout(figure, 260, legend=legend)
    return figure.update_layout(margin=dict(l=45, r=8, t=10, b=90), font_size=11)


def enlarge(source: np.ndarray, side: int = SIDE) -> Image.Image:
    """Source pixels, uint8 (h, w, 3), as a picture whose longer side is `side`, with hard pixel edges."""
    factor = side / max(source.shape[:2])
    size = round(source.shape[1] * factor), round(source.shape[0] * factor)
    return Image.fromarray(source).resize(size, Image.Resampling.NEAREST)


def data_url(picture: np.ndarray | Image.Image) -> str:
    """A picture, uint8 (H, W, 3), as a ``data:`` address of a PNG, for pages that load nothing."""
    buffer = io.BytesIO()
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(buffer, "PNG", compress_level=1)  # four times as fast as usual, a third larger
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def overlay(source: np.ndarray, values: np.ndarray, opacity: float = 0.5, side: int = SIDE) -> Image.Image:
    """Lay a map (gh, gw) over source pixels, uint8 (h, w, 3); the map is enlarged smoothly.

    Args:
        values: scaled as `explain.scale` does. Where any is below zero the colours diverge from grey, blue
            against the class and red for it; else they go from black to yellow.
    """
    picture = enlarge(source, side)
    smooth = Image.fromarray(values.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)
    return Image.blend(picture, coloured(np.asarray(smooth), signed=values.min() < 0), opacity)


def coloured(values: np.ndarray, signed: bool = False) -> Image.Image:
    """A map (gh, gw) as so many pixels: inferno, or coolwarm where signed; colour-blind people read both."""
    probs = (values + 1) / 2 if signed else values
    return Image.fromarray(_palette("coolwarm" if signed else "inferno")[np.uint8(probs.clip(0, 1) * 255)])


@cache
def _palette(name: str) -> np.ndarray:
    """The colours of a matplotlib colour map, uint8 (256, 3)."""
    from matplotlib import colormaps

    return colormaps[name](range(256), bytes=True)[:, :3]


def reliability(
    answers: dict[str, tuple[np.ndarray, np.ndarray]], bins: int = 15, title: str = ""
) -> go.Figure:
    """How often answers are right, against how sure they are; on the diagonal where both agree.

    Args:
        answers: name of a curve -> confidences (N,) in 0..1, and bool (N,), whether each answer is right.
            Each of the `bins` (fewer where there are few images) holds as many; the bars are Wilson's 95 %
            intervals.
    """
    from scipy.stats import binomtest

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
    from sklearn.metrics import roc_curve

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
    figure.add_vline(
        x=clean,
        line=dict(color=COLOURS[1], dash="dash"),
        annotation_text=f"clean, {clean:.1%}",
        annotation_position="top",
    )
    figure.update_xaxes(title="balanced error, mean of five severities", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    return _layout(figure, 120 + 26 * len(order))
