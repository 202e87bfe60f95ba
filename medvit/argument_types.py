"""Types of command-line arguments; argparse refuses other values in one sentence."""

import argparse
import math
from collections.abc import Callable


def at_least(minimum: int) -> Callable[[str], int]:
    """Return the type of a whole number that is not below `minimum`."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"it must be a whole number of at least {minimum}, not {text!r}")
        return value

    return whole_number


def positive(text: str) -> float:
    """Return a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"it must be a number above zero, not {text!r}")
    return value
