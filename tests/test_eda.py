"""What the Data tab and the notebook say about a subset, checked against the arrays themselves."""

import numpy as np
import pytest

from medvit import plots
from medvit.data import as_rgb, medmnist, summary, synthetic
from medvit.errors import MedvitError


@pytest.mark.parametrize("name", ["bloodmnist", "breastmnist", "chestmnist"])
def test_an_overview_sums_up_the_archive(synthetic_root, name):
    found = summary.summarize(name, root=synthetic_root)
    images, labels = medmnist.load_split(name, "train", root=synthetic_root)
    subset = medmnist.get(name)
    assert (found.sampled, found.total) == (48, 48)
    for i, examples in enumerate(found.examples):
        members = labels[:, i] == 1 if subset.multi_label else labels == i
        assert found.counts["train"][i] == members.sum()
        assert len(examples) == min(summary.MAX_EXAMPLES, members.sum())
        assert all((example == as_rgb(images[members])).all((1, 2, 3)).any() for example in examples)
    assert np.abs(found.mean - as_rgb(images).mean(0)).max() <= 0.5
    assert found.histogram.shape == (subset.channels, summary.BINS)
    assert found.histogram.sum(1) == pytest.approx(1)
    dark = (images < 4).mean()
    assert found.histogram[:, 0].mean() == pytest.approx(dark)


def test_a_large_subset_is_sampled_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MAX_SAMPLED", 10)
    synthetic.write_archive("breastmnist", tmp_path, {"train": 40, "val": 4, "test": 4})
    found = summary.summarize("breastmnist", root=tmp_path)
    images, _ = medmnist.load_split("breastmnist", "train", root=tmp_path)
    assert (found.sampled, found.total) == (10, 40)
    picked = images[np.linspace(0, 39, 10).round().astype(int)]
    assert found.histogram == pytest.approx(summary.intensity_histogram(picked))


def test_a_strip_puts_images_side_by_side():
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 100)])
    side_by_side = summary.side_by_side(images)
    assert side_by_side.shape == (4, 9, 3)
    assert side_by_side[0, :, 0].tolist() == [0] * 4 + [255] + [100] * 4


def test_absent_data_are_a_sentence(tmp_path):
    with pytest.raises(MedvitError, match="download"):
        summary.summarize("octmnist", root=tmp_path)


def test_the_figures_show_the_numbers(synthetic_root):
    found = summary.summarize("retinamnist", root=synthetic_root)
    balance = plots.class_balance(found.counts, found.dataset.classes)
    assert [bar.customdata.tolist() for bar in balance.data] == [c.tolist() for c in found.counts.values()]
    assert len(plots.intensities(found.histogram).data) == 3
    assert len(plots.intensities(found.histogram[:1]).data) == 1
