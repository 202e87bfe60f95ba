"""The summary of a dataset equals what the arrays contain."""

import numpy as np
import pytest

from medvit.data import as_rgb, medmnist, summary, synthetic
from medvit.errors import MedvitError


@pytest.mark.parametrize("name", ["bloodmnist", "breastmnist", "chestmnist"])
def test_a_summary_describes_the_archive(synthetic_root, name):
    result = summary.summarize(medmnist.get(name), root=synthetic_root)
    images, labels = medmnist.load_split(name, "train", root=synthetic_root)
    dataset = medmnist.get(name)
    assert result.dataset == dataset
    assert (result.sampled, result.total) == (48, 48)
    for i, examples in enumerate(result.examples):
        members = labels[:, i] == 1 if dataset.multi_label else labels == i
        assert result.counts["train"][i] == members.sum()
        assert len(examples) == min(summary.MAX_EXAMPLES, members.sum())
        assert all((example == as_rgb(images[members])).all((1, 2, 3)).any() for example in examples)
    assert np.abs(result.mean - as_rgb(images).mean(0)).max() <= 0.5
    assert result.histogram.shape == (dataset.channels, summary.BINS)
    assert result.histogram.sum(1) == pytest.approx(1)
    assert result.histogram[:, 0].mean() == pytest.approx((images < 4).mean())


def test_a_large_dataset_is_sampled_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MAX_SAMPLED", 10)
    synthetic.write_archive("breastmnist", tmp_path, {"train": 40, "val": 4, "test": 4})
    result = summary.summarize(medmnist.get("breastmnist"), root=tmp_path)
    images, _ = medmnist.load_split("breastmnist", "train", root=tmp_path)
    assert (result.sampled, result.total) == (10, 40)
    sample = images[[0, 4, 8, 13, 17, 21, 26, 30, 34, 39]]
    assert result.histogram == pytest.approx(summary.intensity_histogram(sample))


def test_examples_of_large_images_are_reduced_to_what_a_strip_has_room_for(monkeypatch, tmp_path):
    monkeypatch.setattr(summary, "MAX_EXAMPLE_SIDE", 14)
    synthetic.write_archive("breastmnist", tmp_path, {"train": 4, "val": 2, "test": 2})
    result = summary.summarize(medmnist.get("breastmnist"), root=tmp_path)
    images, labels = medmnist.load_split("breastmnist", "train", root=tmp_path)
    halved = images[labels == 0].reshape(-1, 14, 2, 14, 2).mean((2, 4))
    assert np.abs(result.examples[0][..., 0] - halved).max() <= 1
    assert result.mean.shape == (28, 28, 3)


def test_images_are_joined_side_by_side():
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 100)])
    joined = summary.side_by_side(images)
    assert joined.shape == (4, 9, 3)
    assert joined[0, :, 0].tolist() == [0] * 4 + [255] + [100] * 4


def test_absent_data_raise_one_sentence(tmp_path):
    with pytest.raises(MedvitError, match="download"):
        summary.summarize(medmnist.get("octmnist"), root=tmp_path)
