"""Values as text for people: names, intervals, p-values."""

from collections.abc import Iterable


def few(names: Iterable[str], most: int = 3) -> str:
    """Return the first names, escaped for display, and how many more: ``a.png, b.png and 7 more``."""
    names = list(names)
    listed = ", ".join(escaped(name) for name in names[:most])
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed


def escaped(name: str, most: int = 80) -> str:
    """Return a name in printable characters, shortened in the middle to `most` characters."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in name)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def interval(limits: Iterable[float] | None, form: str = ".1%") -> str:
    """Format an interval as "low to high"; empty where there is none."""
    return " to ".join(f"{limit:{form}}" for limit in limits) if limits else ""


def p_value(p: float) -> str:
    """Format a p-value with three decimals, or as "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
