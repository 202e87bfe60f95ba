"""Assign pictures to splits: as given, else drawn at random, stratified by class, with a fixed seed."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from medvit.data.dataset import SPLITS
from medvit.data.listing import METADATA, Listing, Picture
from medvit.errors import MedvitError
from medvit.slow_imports import sklearn_model_selection
from medvit.text import few

HELD_OUT = 0.15  # fraction of the pictures in each of val and test
GROUP_FOLDS = 7  # of the pictures of groups, one fold is val and one is test; fewer where that cannot be
GROUP_ATTEMPTS = 5  # random divisions into as many folds


def assign(listing: Listing, seed: int = 0) -> list[Picture]:
    """Return the pictures of a listing, each with a split.

    Splits that are given are kept. Those that are not, val or test or both, are drawn from the pictures of
    train, or from all where no split is given.

    Raises:
        MedvitError: a class has too few pictures for the splits, a class is missing from a split, or a given
            split cuts through a group.
    """
    pictures = listing.pictures
    given = {picture.split for picture in pictures} - {None}
    if given and "train" not in given:
        raise MedvitError(
            f"{listing.title} has no pictures for training: its splits are "
            f"{', '.join(sorted(map(str, given)))}."
        )
    missing = [split for split in ("val", "test") if split not in given]
    pool = [i for i, picture in enumerate(pictures) if picture.split in (None, "train")]
    pictures = [replace(picture, split=picture.split or "train") for picture in pictures]
    if missing:
        labels = np.array([listing.classes.index(pictures[i].label) for i in pool])
        groups = [pictures[i].group for i in pool]
        draw = _draw_groups if any(groups) else _draw
        for split, members in zip(missing, draw(labels, groups, len(missing), seed), strict=True):
            for i in members:
                pictures[pool[i]] = replace(pictures[pool[i]], split=split)
    _check_groups(listing, pictures)
    check_classes(listing, pictures, bool(missing))
    return pictures


def _draw(labels: np.ndarray, _groups: Sequence[str | None], count: int, seed: int) -> list[list[int]]:
    """Indices of `count` disjoint parts, each with the fraction HELD_OUT of every class, and at least one."""
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        size = max(1, round(HELD_OUT * len(members)))
        for k, part in enumerate(parts):
            part += members[k * size : (k + 1) * size].tolist()
    return parts


def _draw_groups(labels: np.ndarray, groups: Sequence[str | None], count: int, seed: int) -> list[list[int]]:
    """As `_draw`, with whole groups; a picture without a group is one of its own.

    Each part is a fold. Of several random divisions into folds, the first is taken where all classes are in
    each part and in the rest.
    """
    # A tuple for each group, as a group might be called like a number.
    keys = [(group, -1) if group else ("", i) for i, group in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    ids = np.array([numbers[key] for key in keys])
    if len(numbers) <= count:
        raise MedvitError(f"Too few groups ({len(numbers)}) to draw {count + 1} splits from; each needs one.")
    labels = np.unique(labels, return_inverse=True)[1]
    most_folds = min(GROUP_FOLDS, len(numbers), np.bincount(labels).max())
    tries = [(n, seed + k) for n in range(most_folds, count, -1) for k in range(GROUP_ATTEMPTS)]
    if min(len(np.unique(ids[labels == label])) for label in range(labels.max() + 1)) <= count:
        tries = tries[:1]  # none can be complete
    folds: list[np.ndarray] = [np.array([], int)] * count
    for number, random_state in tries:
        folds = _folds(labels, ids, number, random_state)
        has = np.array([np.bincount(labels[fold], minlength=labels.max() + 1) > 0 for fold in folds])
        for chosen in combinations(range(number), count):
            if has[list(chosen)].all() and np.delete(has, chosen, 0).any(0).all():
                return [folds[k].tolist() for k in chosen]
    return [fold.tolist() for fold in folds[:count]]


def _folds(labels: np.ndarray, ids: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    splitter = sklearn_model_selection.StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer pictures than there are folds
        return [held_out for _, held_out in splitter.split(labels, labels, ids)]


def _check_groups(listing: Listing, pictures: list[Picture]) -> None:
    splits: dict[str, set[str | None]] = {}
    for picture in pictures:
        if picture.group:
            splits.setdefault(picture.group, set()).add(picture.split)
    if crossing := [group for group, members in splits.items() if len(members) > 1]:
        raise MedvitError(
            f"{len(crossing):,} groups of {listing.title} are in more than one split: {few(crossing)}. "
            f"Correct the column split of {METADATA}, or leave it out to have the splits drawn by group."
        )


def check_classes(listing: Listing, pictures: list[Picture], drawn: bool) -> None:
    """Raise a MedvitError that lists the classes without a picture in a split.

    Args:
        drawn: the splits were drawn, and not given.
    """
    present = {(picture.split, picture.label) for picture in pictures}
    lacking = [
        f"{label} in {split}"
        for split in SPLITS
        for label in listing.classes
        if (split, label) not in present
    ]
    if lacking:
        grouped = any(picture.group for picture in pictures)
        unit = "groups" if grouped and drawn else "pictures"
        raise MedvitError(
            f"{listing.title} lacks classes in a split ({len(lacking)}): {few(lacking)}. Each class "
            f"needs one or more {unit} in each of {', '.join(SPLITS)}: add {unit}, or leave the class out."
        )
