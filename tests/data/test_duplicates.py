"""Pictures in two splits that are equal, and nearly equal."""

import numpy as np
import pytest
from PIL import Image

from medvit.data import duplicates, synthetic
from medvit.data.folder import open_dataset


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    return synthetic.write_pictures(tmp_path / "scans", each=6, splits=("train", "val", "test"))


def compared(scans):
    return duplicates.find(open_dataset(scans, 32, announce=False))


def test_different_pictures_are_no_duplicates(scans):
    result = compared(scans)
    assert result.exact == result.near == result.contradictory == []


def test_equal_pixels_in_two_splits_are_reported_whatever_the_file_format(scans):
    Image.open(scans / "train" / "fundus" / "picture 0.png").save(scans / "test" / "fundus" / "copy.bmp")
    result = compared(scans)
    assert result.exact == [("train: train/fundus/picture 0.png", "test: test/fundus/copy.bmp")]
    assert result.near == []
    assert "1 pair of pictures in two splits have equal pixels" in result.sentences()[0]


def test_two_labels_for_the_same_pixels_are_reported(scans):
    Image.open(scans / "train" / "fundus" / "picture 0.png").save(scans / "train" / "tissue" / "copy.png")
    result = compared(scans)
    assert result.exact == []
    assert result.contradictory == [("train: train/fundus/picture 0.png", "train: train/tissue/copy.png")]


def test_a_recompressed_picture_is_a_near_duplicate(scans):
    pytest.importorskip("imagehash")
    picture = Image.open(scans / "train" / "fundus" / "picture 0.png")
    picture.save(scans / "val" / "fundus" / "copy.jpg", quality=70)
    assert compared(scans).near == [("train: train/fundus/picture 0.png", "val: val/fundus/copy.jpg")]


def test_hashes_are_compared_by_their_bits():
    hashes = np.zeros((600, 4), np.uint64)
    hashes[:, 0] = (1 << np.arange(600) % 60).astype(np.uint64)
    hashes[:, 1:] = np.random.default_rng(0).integers(0, 2**63, (600, 3), dtype=np.uint64)
    near = hashes[550:551] ^ np.array([[0b111, 0, 0, 0]], np.uint64)
    assert duplicates.near_pairs(hashes, near) == [(550, 0)]


def test_pairs_of_countless_equal_pictures_are_bounded():
    same = np.zeros((900, 4), np.uint64)
    assert len(duplicates.near_pairs(same, same)) == duplicates.MAX_PAIRS


def test_the_result_is_kept_until_it_is_damaged(scans):
    Image.open(scans / "train" / "fundus" / "picture 0.png").save(scans / "test" / "fundus" / "copy.bmp")
    first = compared(scans)
    path = duplicates.folder_of(open_dataset(scans, 32, announce=False)) / "duplicates.json"
    assert compared(scans) == first
    path.write_text('{"near_checked": true, "exact": 3}')
    assert compared(scans) == first
