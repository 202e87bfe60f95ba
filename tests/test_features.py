"""Features, the map they give, and the images nearest by them."""

import shutil

import numpy as np
import pytest

from medvit import checkpoint
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation.embedding import tsne, unit
from medvit.evaluation.inference import predict
from medvit.inference import retrieval
from medvit.inference.retrieval import Index

from .conftest import run_script


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained checkpoint that a test may change."""
    return shutil.copytree(trained / "breastmnist" / "spt_lsa", tmp_path / "breastmnist" / "spt_lsa")


@pytest.fixture
def pictures(synthetic_root):
    return medmnist.load_split("bloodmnist", "test", root=synthetic_root)[0]


def test_the_map_keeps_groups_together_and_is_always_the_same():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 20)
    vectors = 5 * np.eye(16)[groups] + rng.normal(0, 0.3, (60, 16))
    plane = tsne(vectors)
    assert plane.dtype == np.float16
    assert np.abs(plane).max() == pytest.approx(1, abs=1e-3)
    distances = np.linalg.norm(plane[:, None].astype(float) - plane[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(1)] == groups).all()
    np.testing.assert_array_equal(plane, tsne(vectors))


@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_a_handful_of_images_has_a_map_too(count):
    plane = tsne(np.random.default_rng(0).normal(size=(count, 8)))
    assert plane.shape == (count, 2)
    assert np.isfinite(plane).all()


def test_the_command_stores_the_map_and_keeps_the_rest(folder, synthetic_root, tmp_path):
    before = checkpoint.load(folder)
    assert before.test_tsne is None
    done = run_script(
        "evaluate.py", folder, "--map", "--data-root", synthetic_root, "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    after = checkpoint.load(folder)
    assert after.test_tsne.shape == (len(after.test_labels), 2)
    assert after.test_tsne.dtype == np.float16
    np.testing.assert_array_equal(after.test_logits, before.test_logits)
    np.testing.assert_array_equal(after.test_labels, before.test_labels)
    assert not list(folder.glob(".*"))


def test_evaluating_on_other_images_is_refused(folder, tmp_path, synthetic_root):
    path = medmnist.archive_path("breastmnist", root=tmp_path)
    with np.load(medmnist.archive_path("breastmnist", root=synthetic_root)) as archive:
        arrays = dict(archive)
    arrays["test_labels"] = 1 - arrays["test_labels"]
    np.savez(path, **arrays)
    done = run_script("evaluate.py", folder, "--map", "--data-root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "its labels differ" in done.stderr
    assert checkpoint.load(folder).test_tsne is None


def test_a_map_that_does_not_fit_is_refused(folder):
    found = checkpoint.load(folder)
    checkpoint.write_test(folder, found.test_logits, found.test_labels, np.zeros((3, 2), np.float16))
    with pytest.raises(MedvitError, match="map"):
        checkpoint.load(folder)


@pytest.fixture
def index(folder, synthetic_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    return Index(checkpoint.load(folder), synthetic_root)


def test_an_index_is_built_once_and_finds_an_image_by_itself(index, synthetic_root):
    assert not index.ready
    seen = []
    index.build(lambda done, total: seen.append((done, total)))
    assert index.ready
    assert seen[-1] == (64, 64)
    pictures, labels = medmnist.load_split("breastmnist", "train", root=synthetic_root)
    _, vectors = predict(index.checkpoint.model, index.checkpoint.preprocessing, pictures)
    nearest = index.nearest(vectors[7], "train", 5)
    assert nearest[0].index == 7
    assert nearest[0].similarity == pytest.approx(1, abs=1e-3)
    assert int(nearest[0].label) == labels[7]
    np.testing.assert_array_equal(nearest[0].pixels, pictures[7])
    cosines = unit(vectors) @ unit(vectors[7])
    assert [one.index for one in nearest[:3]] == np.argsort(-cosines)[:3].tolist()
    without = index.nearest(vectors[7], "train", 5, np.repeat(pictures[7][..., None], 3, -1))
    assert [one.index for one in without[:4]] == [one.index for one in nearest[1:]]


def test_a_large_split_is_drawn_from(index, monkeypatch):
    monkeypatch.setattr(retrieval, "MAX_IMAGES", 10)
    index.build()
    assert index.size("train") == 10
    assert len({one.index for one in index.nearest(np.ones(192), "train", 10)}) == 10


def test_a_failed_build_leaves_no_index(index):
    def fail(done, total):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        index.build(fail)
    assert not index.ready


def test_another_archive_has_another_index(index, tmp_path):
    index.build()
    other = tmp_path / "other"
    other.mkdir()
    assert not Index(index.checkpoint, other).ready
