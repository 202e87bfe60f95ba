"""Summarize reader studies: how well people decide alone, and with the model's advice.

medvit reader-study results.csv
medvit reader-study anna.csv ben.csv --html report.html
medvit reader-study own.csv --positive malignant

Takes the CSV files that the Reader study tab saves, of one or more readers. Prints accuracy, reliance and
confidence; several readers are pooled, and averaged with intervals that hold for other readers and images.
"""

import argparse
from pathlib import Path

from medvit.errors import MedvitError
from medvit.files import atomic_file
from medvit.reader_study import CaseResult, positive_classes, read_csv, report, summarize

MAX_BYTES = 16 * 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit reader-study`."""
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="RESULTS.csv", help="answers of one or more readers")
    add(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write the tables as a page; an existing one is replaced",
    )
    add(
        "--positive",
        metavar="CLASS",
        help="for two classes of one's own pictures: the one that sensitivity refers to",
    )


def run(args: argparse.Namespace) -> None:
    """Summarize the files.

    Raises:
        MedvitError: a file is absent or not the CSV of a reader study, two hold the same answers, or
            --positive is not one of two classes.
    """
    rows = [row for path in args.files for row in _read(path)]
    summary = summarize(rows, positive_classes(rows, args.positive))
    print(report.to_text(summary), end="")
    if args.html:
        try:
            args.html.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(args.html, "w", encoding="utf-8") as file:
                file.write(report.to_html(summary))
        except OSError as error:
            raise MedvitError(f"{args.html} cannot be written ({error.strerror}).") from error


def _read(path: Path) -> list[CaseResult]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MedvitError(f"{path} is larger than {MAX_BYTES >> 20} MB, so it is no reader study.")
        return read_csv(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise MedvitError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise MedvitError(f"{path} is not a text file in UTF-8.") from error
