import json
import shutil

import numpy as np
import pytest
from transformers import AutoImageProcessor, AutoModelForImageClassification

import medvit
from medvit import checkpoint, files
from medvit.errors import MedvitError


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint, to be damaged."""
    target = tmp_path / "breastmnist" / "spt_lsa"
    shutil.copytree(trained / "breastmnist" / "spt_lsa", target)
    return target


def damage_cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def damage_bit(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-500] ^= 64
    path.write_bytes(data)


def damage_missing(folder):
    (folder / "model.safetensors").unlink()


def damage_card(folder):
    (folder / "card.json").write_text('{"subset": "breastmnist"')


def damage_subset(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"subset": "nomnist"}))


def damage_field(folder):
    card = json.loads((folder / "card.json").read_text())
    del card["test"]
    (folder / "card.json").write_text(json.dumps(card))


def damage_test_shape(folder):
    np.savez(folder / "test.npz", logits=np.zeros((4, 3), np.float16), labels=np.zeros(4, np.uint8))


def damage_test_pickle(folder):
    np.savez(folder / "test.npz", logits=np.array([{"a": 1}], dtype=object), labels=np.zeros(1, np.uint8))


def damage_test_empty(folder):
    (folder / "test.npz").write_bytes(b"")


def damage_test_labels(folder):
    np.savez(folder / "test.npz", logits=np.zeros((4, 2), np.float16), labels=np.full(4, 7, np.uint8))


def damage_preprocessing(folder):
    (folder / "preprocessor_config.json").write_text("[]")


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_folder_is_refused_by_name(folder, damage):
    damage(folder)
    with pytest.raises(MedvitError, match="spt_lsa"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", "long"), ("recipe", None), ("history", {}), ("trained_on", "all"), ("seed", None),
        ("start", 5), ("start", {"subset": "bloodmnist"}), ("start", {"recipe": {"epochs": "<b>"}}),
        ("start", {"recipe": {"epochs": 3}, "subset": "nomnist"}), ("subset", []),
        ("teachers", 3), ("seeds", [{}]), ("seeds", [{"test_accuracy": "<b>"}]),
    ],
)  # fmt: skip
def test_a_card_of_another_shape_is_refused(folder, key, value):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {key: value}))
    with pytest.raises(MedvitError, match="spt_lsa is damaged"):
        checkpoint.load(folder)


def test_discovery_leaves_the_damaged_out_and_says_why(folder):
    shutil.copytree(folder, folder.with_name("cnn"))
    damage_cut(folder)
    found, problems = checkpoint.discover(folder.parent.parent)
    assert [one.folder.name for one in found] == ["cnn"]
    assert "sha256" in problems["breastmnist/spt_lsa"]


def test_weights_that_do_not_fit_the_configuration_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10}))
    with pytest.raises(MedvitError, match=r"blocks\.9"):
        _ = checkpoint.load(folder).model


def test_a_folder_opens_with_the_auto_classes(folder):
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "malignant", 1: "normal, benign"}
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 28


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "subset" / "model"
    with pytest.raises(RuntimeError), files.atomic_folder(target) as temporary:
        (temporary / "half").write_text("written")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with files.atomic_folder(target) as temporary:
        (temporary / "file").write_text("written")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_loading_by_name_lists_what_exists(trained):
    with pytest.raises(MedvitError, match="breastmnist/spt_lsa"):
        medvit.load("breastmnist", "cnn", root=trained)
    with pytest.raises(MedvitError, match="There are"):
        medvit.load("../breastmnist", "spt_lsa", root=trained)


def test_a_card_that_cannot_be_written_leaves_the_old_one(folder):
    before = (folder / "card.json").read_bytes()
    with pytest.raises(TypeError):
        checkpoint.write_card(folder, {"subset": object()})
    assert (folder / "card.json").read_bytes() == before
    with pytest.raises(ValueError):
        checkpoint.write_trust(folder, {"ragged": [[1], [1, 2]]})
    assert not list(folder.glob(".*"))


def test_a_full_disk_leaves_no_half_folder(tmp_path):
    with (
        pytest.raises(MedvitError, match="No space left"),
        files.atomic_folder(tmp_path / "model") as folder,
    ):
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").symlink_to("/dev/full")
        (folder / "model.safetensors").write_bytes(bytes(100_000))
    assert list(tmp_path.iterdir()) == []
