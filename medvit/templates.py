"""The jinja2 environment of all templates: HTML is escaped, an unknown name raises."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


def environment(folder: Path) -> Environment:
    """An environment over the templates of a folder; values are escaped in those whose name ends in .html."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(("html",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
