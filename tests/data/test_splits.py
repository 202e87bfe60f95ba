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
    with pytest.raises(MedvitError, match=r"scans lacks classes in a split \(1\): b in train"):
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


def test_too_few_groups_for_the_splits_are_refused():
    with pytest.raises(MedvitError, match=r"Too few groups \(2\) to draw 3 splits from"):
        assign(listing(*[("a", None, "1"), ("b", None, "2")] * 5))
    tested = [("a", "test", "3"), ("b", "test", "3")]
    with pytest.raises(MedvitError, match=r"Too few groups \(1\) to draw 2 splits from"):
        assign(listing(*tested, *[("a", "train", "1"), ("b", "train", "1")] * 5))


def test_two_groups_are_enough_where_only_val_is_missing():
    facts = [(label, split, group) for label in "ab" for split, group in (("train", "1"), ("train", "2"))]
    pictures = assign(listing(*[("a", "test", "3"), ("b", "test", "3")], *facts * 3))
    assert split_counts(pictures, "a") == split_counts(pictures, "b") == (3, 3, 1)


@pytest.mark.parametrize(
    ("groups", "each", "counts"),
    [(6, 1, (4, 1, 1)), (3, 8, (8, 8, 8)), (4, 8, (16, 8, 8)), (5, 8, (24, 8, 8)), (7, 8, (40, 8, 8))],
)
def test_few_groups_of_one_class_each_are_drawn_whole(groups, each, counts):
    facts = [(label, None, f"{label}{group}") for label in "ab" for group in range(groups)] * each
    pictures = assign(listing(*facts))
    assert split_counts(pictures, "a") == split_counts(pictures, "b") == counts
    members = {split: {p.group for p in pictures if p.split == split} for split in ("train", "val", "test")}
    assert sum(map(len, members.values())) == 2 * groups
    assert assign(listing(*facts)) == pictures


def test_a_rare_class_keeps_the_fractions_of_the_others():
    common = [("a", None, f"a{group}") for group in range(70)]
    rare = [("b", None, f"b{group}") for group in range(3)]
    pictures = assign(listing(*common, *rare))
    assert split_counts(pictures, "a") == (50, 10, 10)
    assert split_counts(pictures, "b") == (1, 1, 1)


def test_a_class_in_two_groups_is_refused():
    facts = [("a", None, f"a{group}") for group in range(9)]
    facts += [("b", None, f"b{group}") for group in range(2)]
    with pytest.raises(MedvitError, match=r"b in .* Each class needs one or more groups in each of"):
        assign(listing(*facts))
