"""What all benchmarks share: a figure, and fair timing of several candidates."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

# One module each beside this one: `add_arguments(parser)` and `measure(args)`, which yields figures.
NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if path.stem != "common"))


@dataclass(frozen=True)
class Figure:
    """One measured number. `target` is a bound, from below where `at_least`; None: for information."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def to_json(self) -> dict:
        """name, value, unit, target, holds."""
        fields = asdict(self)
        del fields["at_least"]
        return fields | {"value": round(self.value, 4), "holds": self.holds}


def alternate(
    candidates: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each candidate in each round; all of them in turn, so that noise meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(-warm_up, rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, yardstick: str) -> float:
    """Median over the rounds of ours / yardstick."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[yardstick], strict=True))
