import numpy as np
import pytest

from medvit import checkpoint
from medvit.data import medmnist
from medvit.evaluation.embedding import unit
from medvit.evaluation.inference import predict
from medvit.inference import retrieval
from medvit.inference.retrieval import Index


@pytest.fixture
def index(trained, synthetic_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    return Index(checkpoint.load(trained / "breastmnist" / "spt_lsa"), synthetic_root)


def test_an_index_is_built_once_and_finds_an_image_by_itself(index, synthetic_root):
    assert not index.ready
    progress = []
    index.build(lambda done, total: progress.append((done, total)))
    assert index.ready
    assert progress[-1] == (64, 64)
    images, labels = medmnist.load_split("breastmnist", "train", root=synthetic_root)
    _, features = predict(index.checkpoint.model, index.checkpoint.preprocessing, images)
    nearest = index.nearest(features[7], "train", 5)
    assert nearest[0].index == 7
    assert nearest[0].similarity == pytest.approx(1, abs=1e-3)
    assert int(nearest[0].label) == labels[7]
    np.testing.assert_array_equal(nearest[0].pixels, images[7])
    cosines = unit(features) @ unit(features[7])
    assert [neighbour.index for neighbour in nearest[:3]] == np.argsort(-cosines)[:3].tolist()
    without = index.nearest(features[7], "train", 5, np.repeat(images[7][..., None], 3, -1))
    assert [neighbour.index for neighbour in without[:4]] == [neighbour.index for neighbour in nearest[1:]]


def test_a_large_split_is_sampled(index, monkeypatch):
    monkeypatch.setattr(retrieval, "MAX_IMAGES", 10)
    index.build()
    assert index.size("train") == 10
    assert len({neighbour.index for neighbour in index.nearest(np.ones(192), "train", 10)}) == 10


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
