"""The twelve MedMNIST subsets: their facts and archives."""

import numpy as np
import pytest

from medvit.data import medmnist, synthetic
from medvit.errors import MedvitError

from ..conftest import run_command


def test_all_twelve_two_dimensional_subsets_are_known():
    assert len(medmnist.names()) == 12
    assert medmnist.names()[:5] == medmnist.MAIN
    tasks = {medmnist.get(name).task for name in medmnist.names()}
    assert tasks == {"multi-class", "binary-class", "ordinal-regression", "multi-label, binary-class"}


def test_every_size_has_an_address_and_a_checksum(tmp_path):
    for name in medmnist.names():
        dataset = medmnist.get(name)
        for size in medmnist.SIZES:
            assert dataset.url[size].startswith("https://")
            assert len(dataset.md5[size]) == 32
    assert medmnist.archive_path("pathmnist", 224, tmp_path) == tmp_path / "pathmnist_224.npz"
    with pytest.raises(MedvitError, match="28, 64, 128, 224"):
        medmnist.archive_path("pathmnist", 32)


def test_an_unknown_subset_is_answered_with_the_known_ones():
    with pytest.raises(MedvitError, match="bloodmnist, breastmnist"):
        medmnist.get("bloodmnst")


def test_breast_label_zero_is_malignant_and_the_positive_class():
    dataset = medmnist.get("breastmnist")
    assert dataset.classes[dataset.settings.positive_class] == dataset.classes[0] == "malignant"


def test_the_retina_grades_are_ordinal_and_chest_labels_are_not_exclusive():
    ordinal = [name for name in medmnist.MAIN if medmnist.get(name).task == "ordinal-regression"]
    assert ordinal == ["retinamnist"]
    assert medmnist.get("chestmnist").multi_label
    assert not medmnist.get("bloodmnist").multi_label


@pytest.mark.parametrize(
    ("name", "image_shape", "label_shape"),
    [
        ("breastmnist", (48, 28, 28), (48,)),
        ("bloodmnist", (48, 28, 28, 3), (48,)),
        ("chestmnist", (48, 28, 28), (48, 14)),
    ],
)
def test_arrays_have_the_form_of_their_subset(synthetic_root, name, image_shape, label_shape):
    images, labels = medmnist.load_split(name, "train", root=synthetic_root)
    assert (images.dtype, images.shape) == (np.uint8, image_shape)
    assert (labels.dtype, labels.shape) == (np.int64, label_shape)


def test_an_unknown_split_is_answered_with_the_known_ones(synthetic_root):
    with pytest.raises(MedvitError, match="train, val, test"):
        medmnist.load_split("bloodmnist", "validation", root=synthetic_root)


def test_the_data_root_is_the_argument_or_the_environment_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDVIT_DATA", str(tmp_path / "from-environment"))
    assert medmnist.data_root() == tmp_path / "from-environment"
    assert medmnist.data_root(tmp_path) == tmp_path


def test_absent_data_are_reported_with_their_place_and_the_command_to_download_them(tmp_path):
    with pytest.raises(MedvitError) as error:
        medmnist.load_split("bloodmnist", "test", root=tmp_path)
    assert str(tmp_path / "bloodmnist.npz") in str(error.value)
    assert "`medvit download bloodmnist`" in str(error.value)
    with pytest.raises(MedvitError, match="`medvit download bloodmnist --size 64`"):
        medmnist.load_split("bloodmnist", "test", 64, tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "another subset"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = synthetic.write_archive("bloodmnist", tmp_path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-4000])
    elif damage == "garbage":
        path.write_bytes(b"not a zip file at all")
    else:
        synthetic.write_archive("breastmnist", tmp_path).replace(path)
    with pytest.raises(MedvitError, match=r"bloodmnist\.npz"):
        medmnist.load_split("bloodmnist", "test", root=tmp_path)


def test_an_existing_file_with_another_checksum_is_not_overwritten(tmp_path):
    path = synthetic.write_archive("breastmnist", tmp_path)
    before = path.read_bytes()
    with pytest.raises(MedvitError, match="md5"):
        medmnist.download("breastmnist", root=tmp_path)
    assert path.read_bytes() == before


def test_the_download_command_lists_the_subsets():
    done = run_command("download", "breastmnst")
    assert done.returncode == 1
    assert "pneumoniamnist" in done.stderr
    assert "Traceback" not in done.stderr
