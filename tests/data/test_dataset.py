"""The facts of one's own pictures in a card are read with checks."""

import pytest

from medvit.data import lookup, medmnist
from medvit.data.dataset import from_json, own_dataset, to_json
from medvit.errors import MedvitError

SCANS = own_dataset("scans", "Scans", ("a", "b"), 3, {"train": 4, "val": 2, "test": 2}, "0" * 64, 224)


def test_facts_survive_json_and_name_no_path():
    assert from_json(to_json(SCANS)) == SCANS
    assert set(to_json(SCANS)) == {"name", "title", "classes", "channels", "samples", "digest", "source_size"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc"), ("name", ""), ("name", "A B"), ("name", None), ("name", "x" * 41),
        ("title", "two\nlines"), ("title", 3), ("title", "x" * 101),
        ("classes", ["a"]), ("classes", ["a", "a"]), ("classes", "ab"), ("classes", ["a", 1]),
        ("classes", ["a", ""]),
        ("classes", [str(i) for i in range(1001)]), ("classes", ["a", "b\x1b"]),
        ("channels", 2), ("channels", True), ("channels", "3"),
        ("samples", {"train": 1}), ("samples", {"train": -1, "val": 1, "test": 1}), ("samples", []),
        ("samples", {"train": 1.5, "val": 1, "test": 1}),
        ("digest", "0" * 63), ("digest", "../" + "0" * 61), ("digest", None),
        ("source_size", 10**9), ("source_size", "224"), ("source_size", 0),
    ],
)  # fmt: skip
def test_a_field_out_of_range_is_named(field, value):
    with pytest.raises(MedvitError, match=f"no usable '{field}'"):
        from_json(to_json(SCANS) | {field: value})


def test_a_card_names_a_subset_or_describes_pictures():
    assert lookup.of_card({"subset": "bloodmnist"}) is medmnist.get("bloodmnist")
    assert lookup.of_card({"subset": "scans", "dataset": to_json(SCANS)}) == SCANS


@pytest.mark.parametrize("subset", ["bloodmnist", "other"])
def test_a_card_cannot_pass_pictures_off_as_another_dataset(subset):
    facts = to_json(SCANS) | {"name": "bloodmnist" if subset == "bloodmnist" else "scans"}
    with pytest.raises(MedvitError, match="name"):
        lookup.of_card({"subset": subset, "dataset": facts})
