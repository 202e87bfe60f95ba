"""The most faithful kinds of map of a checkpoint, as `medvit faithfulness` measured them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvit import untrusted
from medvit.errors import MedvitError
from medvit.explain.methods import METHODS


def measured(card: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Name of a map -> its metrics, see `faithfulness.measure`, from a card; of maps of this version."""
    methods = card.get("explanations", {}).get("methods", {})
    return {name: metrics for name, metrics in methods.items() if name in METHODS}


def rank(card: Mapping[str, Any]) -> list[str]:
    """Names of the measured maps, most faithful first; empty where none was measured."""
    methods = measured(card)
    return sorted(methods, key=lambda name: -methods[name]["insertion_deletion_gain"])


def is_above_chance(metrics: Mapping[str, float]) -> bool:
    """Whether a map is more faithful than a random order of the patches, by two standard errors."""
    return metrics["insertion_deletion_gain"] > 2 * metrics["insertion_deletion_gain_se"]


def rank_of_folder(folder: str | Path) -> list[str]:
    """The same for a checkpoint folder; empty for a folder without a readable card."""
    try:
        return rank(untrusted.read_json(Path(folder) / "card.json"))
    except (MedvitError, KeyError, TypeError, AttributeError):
        return []
