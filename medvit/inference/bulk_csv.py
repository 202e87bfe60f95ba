"""The results of a bulk job as CSV, safe to open in a spreadsheet."""

import csv
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import IO

from medvit.inference.bulk import COLUMNS, Row

# Where a spreadsheet starts a cell (";" and tabs separate cells in some languages) with a formula.
FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@＝＋－＠])")


def write_header(out: IO[str]) -> None:
    """Write the first line of the CSV."""
    csv.writer(out, lineterminator="\n").writerow(COLUMNS)


def write_rows(out: IO[str], rows: Iterable[Row]) -> None:
    """Append rows to the CSV; see `csv_cell`."""
    csv.writer(out, lineterminator="\n").writerows(
        [csv_cell(value) for value in asdict(row).values()] for row in rows
    )


def csv_cell(value: str | float | None) -> str:
    """Format a value; an apostrophe goes before whatever a spreadsheet would run as a formula."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = FORMULA.sub(r"\1\2'", value)
    return f"'{text}" if text.startswith(("\t", "\r")) else text
