"""A summary of a reader study as tables: for the terminal, as a page, and for the screens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvit.reader_study.study import CONDITIONS
from medvit.reader_study.summary import ANSWERS, Metrics, points
from medvit.templates import environment
from medvit.text import interval, p_value

NAMES = {"reader": "reader alone", "model": "model alone", "reader_with_model": "reader with the model"}
SECOND_LOOK = "second look"  # in place of "reader with the model" where no case has advice
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """A titled table of text; the first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sections(summary: Metrics) -> list[Section]:
    """The tables of a summary, as `summarize` returns it."""
    pooled = summary["pooled"]
    tables = [_accuracy(pooled), _comparisons(pooled), _conditions(pooled), _reliance(pooled)]
    if len(summary["readers"]) > 1:
        tables.append(_readers(summary))
    if pooled["misled"]:
        columns = ("reader", "dataset", "test image", "true class", "advice, and final answer")
        rows = [
            (row.reader, row.dataset, str(row.index), row.truth, row.final_answer) for row in pooled["misled"]
        ]
        tables.append(Section("Right first answers that the advice changed to wrong ones", columns, rows))
    return tables


def to_text(summary: Metrics) -> str:
    """The tables as text with aligned columns, and the conclusion."""
    blocks = [_align(section) for section in sections(summary)]
    return "\n\n".join([*blocks, summary["conclusion"]]) + "\n"


def to_html(summary: Metrics) -> str:
    """The tables as a page that loads nothing from outside."""
    template = environment(TEMPLATES).get_template("report.html")
    return template.render(sections=sections(summary), conclusion=summary["conclusion"])


def _names(metrics: Metrics) -> dict[str, str]:
    return NAMES if metrics["advised"] else NAMES | {"reader_with_model": SECOND_LOOK}


def _align(section: Section) -> str:
    lines = [section.columns, *section.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([section.title, *rows])


def _accuracy(metrics: Metrics) -> Section:
    columns = ("", *_names(metrics).values())
    names = [name for name in ("accuracy", "sensitivity", "specificity") if name in metrics]
    rows = [(name, *(_proportion(metrics[name][answer]) for answer in ANSWERS)) for name in names]
    if "macro_recall" in metrics:
        recalls = (f"{metrics['macro_recall'][answer]:.1%}" for answer in ANSWERS)
        rows.append(("macro recall", *recalls))
    count = metrics["advised"] or metrics["cases"]
    return Section(f"Accuracy ({count} answers{' with advice' if metrics['advised'] else ''})", columns, rows)


def _comparisons(metrics: Metrics) -> Section:
    columns = ("first and second", "only the first is right", "only the second is right", "p (McNemar)")
    rows = [
        (
            " and ".join(_names(metrics)[name] for name in names.split(", ")),
            str(test["only_first"]),
            str(test["only_second"]),
            _p_value(test["p"]),
        )
        for names, test in metrics["mcnemar"].items()
    ]
    return Section("Compared on the same cases", columns, rows)


def _conditions(metrics: Metrics) -> Section:
    columns = ("condition", "answers", "first answer", "final answer", "change", "p (McNemar)")
    rows = [
        (
            CONDITIONS[name],
            str(group["first"]["n"]),
            _proportion(group["first"]),
            _proportion(group["final"]),
            _change(group["change"]),
            _p_value(group["p"]),
        )
        for name, group in metrics["conditions"].items()
    ]
    return Section("By condition", columns, rows)


def _reliance(metrics: Metrics) -> Section:
    rows = []
    if metrics["advised"]:
        rows = [
            ("RAIR: wrong answers corrected after right advice", _proportion(metrics["rair"])),
            ("RSR: right answers kept against wrong advice", _proportion(metrics["rsr"])),
            ("over-reliance: wrong advice followed", _proportion(metrics["over_reliance"])),
            ("under-reliance: right advice not followed", _proportion(metrics["under_reliance"])),
        ]
    rows += [
        ("switches to right", str(metrics["switches"]["to_right"])),
        ("switches to wrong", str(metrics["switches"]["to_wrong"])),
        ("Cohen's kappa with the model, first answer", _number(metrics["kappa"]["first"])),
    ]
    if metrics["advised"]:
        rows.append(("Cohen's kappa with the model, final answer", _number(metrics["kappa"]["final"])))
    rows += [
        ("Brier score of the confidence, first answer", _number(metrics["brier"]["first"])),
        ("Brier score of the confidence, final answer", _number(metrics["brier"]["final"])),
        ("seconds a case, mean", f"{metrics['seconds']['case']:.1f}"),
    ]
    if metrics["beyond_control"]:
        rows.insert(0, ("change beyond that of a second look", _change(metrics["beyond_control"])))
    title = "Reliance, confidence and time" if metrics["advised"] else "Confidence and time"
    return Section(title, ("", "value"), rows)


def _readers(summary: Metrics) -> Section:
    """One row for each reader; those without advice have no result with it, unless none has."""
    advised = summary["pooled"]["advised"]
    columns = (
        "reader",
        "cases",
        "alone",
        "with the model" if advised else SECOND_LOOK,
        "change",
        "RAIR",
        "RSR",
    )
    rows: list[tuple[str, ...]] = []
    for name, metrics in summary["readers"].items():
        cells = [name, str(metrics["cases"]), _proportion(metrics["accuracy"]["reader"])]
        if advised and not metrics["advised"]:
            cells += 4 * ["no advice"]
        else:
            cells += [_proportion(metrics["accuracy"]["reader_with_model"]), _change(metrics["change"])]
            cells += [_proportion(metrics["rair"]), _proportion(metrics["rsr"])]
        rows.append(tuple(cells))
    mean = summary["mean"]
    if mean["readers"] > 1:
        measures = ("reader", "reader_with_model", "change", "rair", "rsr")
        rows.append(("mean", "", *(_mean(mean[name], name == "change") for name in measures)))
    if mean["beyond_control"]:
        beyond = _change(mean["beyond_control"])
        title = f"mean of {mean['beyond_control']['readers']}, beyond a second look"
        rows.append((title, "", "", "", beyond, "", ""))
    return Section("Readers", columns, rows)


def _proportion(proportion: Metrics) -> str:
    if proportion["value"] is None:
        return "no such case"
    count = f"{proportion['count']} of {proportion['n']}"
    inside = f"{interval(proportion['interval'], '.0%')}; {count}" if proportion["interval"] else count
    return f"{proportion['value']:.0%} ({inside})"


def _change(change: Metrics) -> str:
    return "no such case" if change["value"] is None else points(change, "")


def _mean(measure: Metrics, signed: bool) -> str:
    if signed or measure["value"] is None:
        return _change(measure)
    inside = f" ({interval(measure['interval'], '.0%')})" if measure["interval"] else ""
    return f"{measure['value']:.0%}{inside}"


def _p_value(p: float | None) -> str:
    return "–" if p is None else p_value(p)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}"
