"""HTML of the screens, by jinja2 templates: every value is escaped unless it is HTML already (Markup)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medvit.data import short_name
from medvit.plots import data_url
from medvit.templates import environment
from medvit.ui import glossary
from medvit.ui.server.responses import hide_folders

Cell = str | int | tuple[str, str]

DISCLAIMER = "Research demo, not for diagnosis."

_ENVIRONMENT = environment(Path(__file__).with_name("templates"))


def class_name(name: str) -> Markup:
    """A class name as HTML: the short form, with the long form on hover."""
    return Markup('<span title="{}">{}</span>').format(name, short_name(name))


def percent(value: float, digits: int = 1) -> str:
    """A fraction as a percentage."""
    return f"{value:.{digits}%}"


def term(name: str) -> Markup:
    """A term of the glossary as HTML, explained on hover, focus and tap; raises KeyError for another text."""
    described_by = glossary.identifier(glossary.resolve(name))
    return Markup('<span class="term" role="button" tabindex="0" aria-describedby="{}">{}</span>').format(
        described_by, name
    )


def with_terms(text: Any) -> Any:
    """A text as HTML in which each term of the glossary is explained once; HTML stays as it is."""
    if not isinstance(text, str) or isinstance(text, Markup):
        return text
    return Markup("").join(term(piece) if known else piece for piece, known in glossary.split(text))


_ENVIRONMENT.filters |= {
    "class_name": class_name,
    "data_url": data_url,
    "percent": percent,
    "short_name": short_name,
    "term": term,
    "term_id": glossary.identifier,
    "with_terms": with_terms,
}
_ENVIRONMENT.globals["DISCLAIMER"] = DISCLAIMER


def render(template: str, **context: Any) -> Markup:
    """Render `templates/<template>` with the values of `context`, escaped.

    Filters: `class_name`, `data_url`, `percent` (digits after the point; 1 by default), `short_name`, `term`,
    `with_terms`.
    """
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
    return _macro("note", text if isinstance(text, Markup) else hide_folders(text))


def status(text: str, done: int = 0, total: int | None = None, label: str = "") -> Markup:
    """A line that screen readers announce; with `total` a progress bar above it (0: of unknown length)."""
    return _macro("status", hide_folders(text), done, total, label)


def thumbnail(picture: Any, alt: str, lines: Sequence[str]) -> Markup:
    """Source pixels, enlarged without smoothing, with lines of text beside them."""
    return _macro("thumbnail", picture, alt, lines)
