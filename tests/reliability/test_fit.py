import shutil

import numpy as np
import pytest

from medvit import checkpoint
from medvit.data import halves, medmnist
from medvit.reliability import fit


@pytest.fixture(scope="module")
def fitted(trained):
    return checkpoint.load(trained / "breastmnist" / "spt_lsa")


def refit(fitted, data_root, root):
    return fit.fit(
        fitted.model, fitted.preprocessing, fitted.dataset, fitted.card["sha256"], 28, data_root, root
    )[0]


def change(source, target, name, **changes):
    """Write an archive with some arrays replaced by `changes[name](arrays)`."""
    with np.load(source / f"{name}.npz") as archive:
        arrays = dict(archive)
    np.savez(target / f"{name}.npz", **arrays | {key: value(arrays[key]) for key, value in changes.items()})


def test_nothing_comes_from_the_test_split(fitted, trained, synthetic_root, tmp_path):
    """Other test images and labels, of every dataset, leave each array unchanged."""
    for name in medmnist.MAIN:
        change(
            synthetic_root, tmp_path, name,
            test_labels=lambda labels: 1 - labels.clip(max=1), test_images=lambda images: 255 - images[::-1],
        )  # fmt: skip
    arrays = refit(fitted, tmp_path, trained)
    assert arrays.keys() == fitted.trust.keys()
    for key, value in fitted.trust.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(arrays[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
        else:
            assert arrays[key] == value, key


def test_validation_labels_matter(fitted, trained, synthetic_root, tmp_path):
    """The test above would pass with anything that reads no labels at all."""
    shutil.copytree(synthetic_root, tmp_path, dirs_exist_ok=True)
    change(synthetic_root, tmp_path, "breastmnist", val_labels=lambda labels: 1 - labels)
    arrays = refit(fitted, tmp_path, trained)
    assert not np.allclose(arrays["nonconformity_scores"], fitted.trust["nonconformity_scores"])


def test_temperatures_and_scores_come_from_different_images():
    labels = np.random.default_rng(0).integers(0, 3, 101)
    first, second = halves(labels)
    assert not set(first) & set(second)
    assert len(first) + len(second) == 101
    assert abs(np.bincount(labels[first]) - np.bincount(labels[second])).max() <= 2


def test_multi_label_tasks_have_no_prediction_sets(fitted, synthetic_root):
    dataset = medmnist.get("chestmnist")
    images, labels = medmnist.load_split("chestmnist", "val", root=synthetic_root)
    two_labels = labels[:, :2]  # as many as the model has logits
    logits = np.random.default_rng(0).normal(size=two_labels.shape)
    arrays = fit.fit_calibration(fitted.model, fitted.preprocessing, dataset, images, two_labels, logits)
    assert set(arrays) == {"temperature"}


def test_training_writes_a_small_file_without_objects(fitted):
    path = fitted.folder / checkpoint.TRUST
    assert path.stat().st_size < 1e6
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[key].dtype != object for key in archive.files)
