"""HTML of the screens, by jinja2 templates: every value is escaped unless it is HTML already (Markup)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medvit.data import short_name
from medvit.plots import data_url

Cell = str | int | tuple[str, str]

DISCLAIMER = "Research demo, not for diagnosis."


def class_name(name: str) -> Markup:
    """A class name as HTML: the short form, with the long form on hover."""
    return Markup('<span title="{}">{}</span>').format(name, short_name(name))


def environment(folder: Path) -> Environment:
    """A jinja2 environment over the templates of a folder, autoescaping, in which an unknown name raises.

    Filters: `percent` (digits after the point; 1 by default), `class_name`, `short_name`, `data_url`.
    """
    env = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    env.filters |= {
        "percent": lambda value, digits=1: f"{value:.{digits}%}",
        "class_name": class_name,
        "short_name": short_name,
        "data_url": data_url,
    }
    env.globals["DISCLAIMER"] = DISCLAIMER
    return env


_ENVIRONMENT = environment(Path(__file__).with_name("templates"))


def render(template: str, **context: Any) -> Markup:
    """Render `templates/<template>` with the values of `context`, escaped."""
    return Markup(_ENVIRONMENT.get_template(template).render(**context).strip())  # noqa: S704


def _macro(name: str, *args: Any, **options: Any) -> Markup:
    macro = getattr(_ENVIRONMENT.get_template("macros.html").module, name)
    return Markup(macro(*args, **options).strip())  # noqa: S704


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    css: str = "",
    highlight: int | None = None,
    row_headings: bool = True,
) -> Markup:
    """An HTML table.

    Args:
        columns: headings; "" is an empty corner.
        rows: cells, each a text (or Markup) or a (text, subdued note) pair.
        css: more CSS classes of the table.
        highlight: number of the row that stands out.
        row_headings: whether the first cell of each row is its heading.
    """
    return _macro("table", columns, list(rows), css, highlight, row_headings)


def panel_title(text: str) -> Markup:
    """The title above a panel."""
    return _macro("panel_title", text)


def note(text: str) -> Markup:
    """A paragraph of small, subdued text."""
    return _macro("note", text)


def status(text: str, done: int = 0, total: int | None = None, label: str = "") -> Markup:
    """A line that screen readers announce; with `total` a progress bar above it (0: of unknown length)."""
    return _macro("status", text, done, total, label)
