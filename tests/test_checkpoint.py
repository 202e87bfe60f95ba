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


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-500] ^= 64
    path.write_bytes(data)


def change_card(folder, **fields):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | fields))


def write_test(folder, logits, labels):
    np.savez(folder / "test.npz", logits=logits, labels=labels)


DAMAGES = {
    "cut weights": cut_weights,
    "one bit of the weights": flip_a_bit,
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut card": lambda folder: (folder / "card.json").write_text('{"subset": "breastmnist"'),
    "unknown dataset": lambda folder: change_card(folder, subset="nomnist"),
    "card without metrics": lambda folder: change_card(folder, test=None),
    "logits of another shape": lambda folder: write_test(
        folder, np.zeros((4, 3), np.float16), np.zeros(4, np.uint8)
    ),
    "pickled logits": lambda folder: write_test(
        folder, np.array([{"a": 1}], dtype=object), np.zeros(1, np.uint8)
    ),
    "empty test.npz": lambda folder: (folder / "test.npz").write_bytes(b""),
    "labels that are no classes": lambda folder: write_test(
        folder, np.zeros((4, 2), np.float16), np.full(4, 7, np.uint8)
    ),
    "unusable preprocessing": lambda folder: (folder / "preprocessor_config.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused_by_name(folder, damage):
    damage(folder)
    with pytest.raises(MedvitError, match="spt_lsa"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", "long"), ("recipe", None), ("history", {}), ("trained_on", "all"), ("seed", None),
        ("start", 5), ("start", {"subset": "bloodmnist"}), ("start", {"recipe": {"epochs": "<b>"}}),
        ("start", {"recipe": {"epochs": 3}, "subset": ["bloodmnist"]}), ("subset", []),
        ("teachers", 3), ("seeds", [{}]), ("seeds", [{"test_accuracy": "<b>"}]),
    ],
)  # fmt: skip
def test_a_card_of_another_shape_is_refused(folder, key, value):
    change_card(folder, **{key: value})
    with pytest.raises(MedvitError, match="spt_lsa is damaged"):
        checkpoint.load(folder)


def test_discovery_leaves_damaged_folders_out_and_says_why(folder):
    shutil.copytree(folder, folder.with_name("cnn"))
    cut_weights(folder)
    (folder.parent.parent / "results" / "pages").mkdir(parents=True)  # no checkpoint, and no problem
    checkpoints, problems = checkpoint.discover(folder.parent.parent)
    assert [each.folder.name for each in checkpoints] == ["cnn"]
    assert problems.keys() == {"breastmnist/spt_lsa"}
    assert "header" in problems["breastmnist/spt_lsa"]


def test_no_more_folders_are_read_than_the_limit_and_the_problem_says_so(folder, monkeypatch):
    shutil.copytree(folder, folder.with_name("cnn"))
    monkeypatch.setattr(checkpoint.limits, "CHECKPOINTS", 1)
    checkpoints, problems = checkpoint.discover(folder.parent.parent)
    assert [each.folder.name for each in checkpoints] == ["cnn"]
    assert "2 checkpoint folders, and the last 1 were not read" in problems["breastmnist/spt_lsa"]


def test_weights_that_do_not_fit_the_configuration_are_refused_in_one_short_sentence(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10}))
    change_card(folder, config_sha256=files.sha256(folder / "config.json"))
    with pytest.raises(MedvitError, match=r"blocks\.9.* and \d+ more") as refusal:
        _ = checkpoint.load(folder).model
    assert len(str(refusal.value)) < 400 + len(str(folder))


def test_a_folder_opens_with_the_auto_classes(folder):
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "malignant", 1: "normal, benign"}
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 28


def test_loading_by_name_lists_what_exists(trained):
    with pytest.raises(MedvitError, match="breastmnist/spt_lsa"):
        medvit.load("breastmnist", "cnn", root=trained)
    with pytest.raises(MedvitError, match="There are"):
        medvit.load("../breastmnist", "spt_lsa", root=trained)


def test_the_embedding_is_stored_and_must_fit(folder):
    before = checkpoint.load(folder)
    assert before.test_tsne is None
    plane = np.random.default_rng(0).uniform(-1, 1, (len(before.test_labels), 2)).astype(np.float16)
    checkpoint.write_test(folder, before.test_logits, before.test_labels, plane)
    after = checkpoint.load(folder)
    np.testing.assert_array_equal(after.test_tsne, plane)
    np.testing.assert_array_equal(after.test_logits, before.test_logits)
    np.testing.assert_array_equal(after.test_labels, before.test_labels)
    checkpoint.write_test(folder, before.test_logits, before.test_labels, plane[:3])
    with pytest.raises(MedvitError, match="t-SNE"):
        checkpoint.load(folder)


def test_rounding_to_half_keeps_the_argmax_and_the_values():
    close = np.array([[10.001, 10.0, -3], [10.0, 10.001, -3], [-5.0001, -5.0, -9]], np.float32)
    many = np.random.default_rng(0).normal(size=(5000, 9)).astype(np.float32)
    for logits in (close, many):
        half = checkpoint.to_half(logits)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half.argmax(1), logits.argmax(1))
        np.testing.assert_allclose(half, logits, rtol=2e-3, atol=1e-4)


def test_a_card_that_cannot_be_written_leaves_the_old_one(folder):
    before = (folder / "card.json").read_bytes()
    with pytest.raises(TypeError):
        checkpoint.write_card(folder, {"subset": object()})
    assert (folder / "card.json").read_bytes() == before
    with pytest.raises(ValueError):
        checkpoint.write_trust(folder, {"ragged": [[1], [1, 2]]})
    assert not list(folder.glob(".*"))
