"""What the Data tab and the notebook say about a subset, checked against the arrays themselves."""

import numpy as np
import pytest

from medvit import eda, figures, phantoms, subsets
from medvit.errors import MedvitError


@pytest.mark.parametrize("name", ["bloodmnist", "breastmnist", "chestmnist"])
def test_an_overview_sums_up_the_archive(phantom_root, name):
    found = eda.overview(name, root=phantom_root)
    images, labels = subsets.load_split(name, "train", root=phantom_root)
    subset = subsets.get(name)
    assert (found.sampled, found.total) == (48, 48)
    for i, examples in enumerate(found.examples):
        members = labels[:, i] == 1 if subset.multi_label else labels == i
        assert found.counts["train"][i] == members.sum()
        assert len(examples) == min(eda.PER_CLASS, members.sum())
        assert all((example == eda.colour(images[members])).all((1, 2, 3)).any() for example in examples)
    assert np.abs(found.mean - eda.colour(images).mean(0)).max() <= 0.5
    assert found.histogram.shape == (subset.channels, eda.BINS)
    assert found.histogram.sum(1) == pytest.approx(1)
    dark = (images < 4).mean()
    assert found.histogram[:, 0].mean() == pytest.approx(dark)


def test_a_large_subset_is_sampled_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(eda, "SAMPLE", 10)
    phantoms.write_archive("breastmnist", tmp_path, {"train": 40, "val": 4, "test": 4})
    found = eda.overview("breastmnist", root=tmp_path)
    images, _ = subsets.load_split("breastmnist", "train", root=tmp_path)
    assert (found.sampled, found.total) == (10, 40)
    picked = images[np.linspace(0, 39, 10).round().astype(int)]
    assert found.histogram == pytest.approx(eda.histogram(picked))


def test_a_strip_puts_images_side_by_side():
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 100)])
    side_by_side = eda.strip(images)
    assert side_by_side.shape == (4, 9, 3)
    assert side_by_side[0, :, 0].tolist() == [0] * 4 + [255] + [100] * 4


def test_absent_data_are_a_sentence(tmp_path):
    with pytest.raises(MedvitError, match="download"):
        eda.overview("octmnist", root=tmp_path)


def test_the_figures_show_the_numbers(phantom_root):
    found = eda.overview("retinamnist", root=phantom_root)
    balance = figures.class_balance(found.counts, found.subset.classes)
    assert [bar.customdata.tolist() for bar in balance.data] == [c.tolist() for c in found.counts.values()]
    assert len(figures.intensities(found.histogram).data) == 3
    assert len(figures.intensities(found.histogram[:1]).data) == 1
