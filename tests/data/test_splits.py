"""Splits are kept where they are given, else drawn by class or by group with a fixed seed."""

from pathlib import Path

import pytest

from medvit.data.listing import Picture, make_listing
from medvit.data.splits import assign
from medvit.errors import MedvitError


def listing(*facts):
    """From (label, split, group)."""
    pictures = [
        Picture(f"{i:05}.png", label, split, group, "", Path("x"))
        for i, (label, split, group) in enumerate(facts)
    ]  # fmt: skip
    return make_listing("scans", pictures, [])


def split_counts(pictures, label):
    splits = [picture.split for picture in pictures if picture.label == label]
    return tuple(splits.count(split) for split in ("train", "val", "test"))


def test_each_class_is_split_by_the_same_fractions():
    pictures = assign(
        listing(*[("a", None, None)] * 100, *[("b", None, None)] * 20, *[("c", None, None)] * 3)
    )
    assert split_counts(pictures, "a") == (70, 15, 15)
    assert split_counts(pictures, "b") == (14, 3, 3)
    assert split_counts(pictures, "c") == (1, 1, 1)


def test_the_seed_decides():
    facts = listing(*[("a", None, None), ("b", None, None)] * 20)
    assert assign(facts) == assign(facts)
    assert assign(facts, seed=1) != assign(facts)


def test_a_class_with_too_few_pictures_is_refused():
    with pytest.raises(MedvitError, match="1 classes of scans are missing from a split: b in train"):
        assign(listing(*[("a", None, None)] * 10, *[("b", None, None)] * 2))


def test_a_given_split_without_a_class_is_refused():
    facts = [(label, split, None) for label in "ab" for split in ("train", "val", "test")]
    with pytest.raises(MedvitError, match="c in val, c in test"):
        assign(listing(*facts, ("c", "train", None)))


def test_pictures_for_testing_alone_are_refused():
    with pytest.raises(MedvitError, match="no pictures for training: its splits are test"):
        assign(listing(("a", "test", None), ("b", "test", None)))


def test_a_given_split_through_a_group_is_refused():
    facts = [(label, split, None) for label in "ab" for split in ("train", "val", "test")]
    with pytest.raises(MedvitError, match="1 groups of scans are in more than one split: patient 3"):
        assign(listing(*facts, ("a", "train", "patient 3"), ("b", "test", "patient 3")))


def test_two_groups_are_too_few_for_three_splits():
    with pytest.raises(MedvitError, match="three splits need at least three"):
        assign(listing(*[("a", None, "1"), ("b", None, "2")] * 5))
